// Bodies of context.hpp.
#ifndef GEMMA_OPENCL_IMPL_CONTEXT_INL_HPP_
#define GEMMA_OPENCL_IMPL_CONTEXT_INL_HPP_

#include <algorithm>
#include <cstring>

#include "gemma/base/bytes.hpp"
#include "gemma/base/file.hpp"
#include "gemma/base/hash.hpp"
#include "gemma/base/output_file.hpp"
#include "gemma/opencl/context.hpp"

GEMMA_NAMESPACE_BEGIN
namespace opencl {
namespace detail {

/// A hash as 16 digits: names for cached files.
inline std::string hash_name(const std::string& text) {
  Hash hash;
  hash.add(bytes_of(text));
  std::string name;
  for (int shift = 60; shift >= 0; shift -= 4) {
    name += "0123456789abcdef"[hash.value() >> shift & 15u];
  }
  return name;
}

}  // namespace detail

GEMMA_INLINE Error Context::failed(const char* call, const std::string& what, Int code,
                                   ErrorCode kind) const {
  if (code == kOutOfDeviceMemory || code == kOutOfHostMemory) kind = ErrorCode::out_of_memory;
  return Error(kind, device_.name + ": " + call + " failed with " + error_name(code) + " (" + what +
                         ")");
}

GEMMA_INLINE Result<std::unique_ptr<Context>> Context::create(const Device& device) {
  std::unique_ptr<Context> made(new Context(device));
  const Functions& f = made->device_.functions();
  Int code = kSuccess;
  made->context_ = {f, f.clCreateContext(nullptr, 1, &device.id, nullptr, nullptr, &code)};
  if (!made->context_ || code != kSuccess) {
    return made->failed("clCreateContext", "a context on the device", code);
  }
  made->queue_ = {f, f.clCreateCommandQueue(made->context_.id(), device.id, 0, &code)};
  if (!made->queue_ || code != kSuccess) {
    return made->failed("clCreateCommandQueue", "a queue of commands", code);
  }
  return made;
}

GEMMA_INLINE Result<Buffer> Context::create_buffer(std::size_t bytes, const std::string& what) {
  const Functions& f = device_.functions();
  const std::size_t size = (std::max)(bytes, std::size_t{1});
  Int code = kSuccess;
  Buffer buffer(f, f.clCreateBuffer(context_.id(), kReadWrite, size, nullptr, &code));
  if (!buffer || code != kSuccess) {
    return failed("clCreateBuffer", std::to_string(size) + " bytes for " + what, code,
                  ErrorCode::out_of_memory);
  }
  return buffer;
}

GEMMA_INLINE Status Context::write(const Buffer& buffer, std::size_t offset, const void* data,
                                   std::size_t bytes) {
  constexpr UInt kBlocking = 1;
  const Int code = device_.functions().clEnqueueWriteBuffer(
      queue_.id(), buffer.id(), kBlocking, offset, bytes, data, 0, nullptr, nullptr);
  if (code != kSuccess) {
    return failed("clEnqueueWriteBuffer", "sending " + std::to_string(bytes) + " bytes", code);
  }
  return {};
}

GEMMA_INLINE Status Context::read(const Buffer& buffer, std::size_t offset, void* data,
                                  std::size_t bytes) {
  constexpr UInt kBlocking = 1;
  const Int code = device_.functions().clEnqueueReadBuffer(
      queue_.id(), buffer.id(), kBlocking, offset, bytes, data, 0, nullptr, nullptr);
  if (code != kSuccess) {
    return failed("clEnqueueReadBuffer", "fetching " + std::to_string(bytes) + " bytes", code);
  }
  return {};
}

GEMMA_INLINE Status Context::clear(const Buffer& buffer, std::size_t bytes) {
  constexpr std::size_t kPiece = std::size_t{1} << 20;
  const std::vector<std::uint8_t> zeros((std::min)(bytes, kPiece));
  for (std::size_t done = 0; done < bytes; done += kPiece) {
    GEMMA_TRY(write(buffer, done, zeros.data(), (std::min)(bytes - done, kPiece)));
  }
  return {};
}

GEMMA_INLINE std::string Context::build_log(const Program& program) const {
  const Functions& f = device_.functions();
  std::size_t size = 0;
  f.clGetProgramBuildInfo(program.id(), device_.id, kProgramBuildLog, 0, nullptr, &size);
  std::string log(size, '\0');
  if (size > 0) {
    f.clGetProgramBuildInfo(program.id(), device_.id, kProgramBuildLog, size, &log[0], nullptr);
  }
  while (!log.empty() && (log.back() == '\0' || log.back() == '\n')) log.pop_back();
  return log;
}

GEMMA_INLINE Result<Program> Context::build_source(const std::string& source,
                                                   const std::string& options) {
  const Functions& f = device_.functions();
  const char* text = source.data();
  const std::size_t length = source.size();
  Int code = kSuccess;
  Program program(f, f.clCreateProgramWithSource(context_.id(), 1, &text, &length, &code));
  if (!program || code != kSuccess) {
    return failed("clCreateProgramWithSource", "the kernels' source", code,
                  ErrorCode::build_failed);
  }
  code = f.clBuildProgram(program.id(), 1, &device_.id, options.c_str(), nullptr, nullptr);
  if (code != kSuccess) {
    // The first words of a compiler say most.
    constexpr std::size_t kMost = 600;
    const std::string log = build_log(program).substr(0, kMost);
    return failed("clBuildProgram", log.empty() ? "the compiler says nothing" : log, code,
                  ErrorCode::build_failed);
  }
  return program;
}

/// An empty Program if the file is not there or the device does not take it.
GEMMA_INLINE Program Context::build_binary(const std::string& file, const std::string& options) {
  const Functions& f = device_.functions();
  if (f.clCreateProgramWithBinary == nullptr || path_kind(file) != PathKind::file) return {};
  const Result<MappedFile> binary = MappedFile::open(file);
  if (!binary) return {};
  const unsigned char* data = binary->bytes().data();
  const std::size_t size = binary->bytes().size();
  Int status = kSuccess;
  Int code = kSuccess;
  Program program(f, f.clCreateProgramWithBinary(context_.id(), 1, &device_.id, &size, &data,
                                                 &status, &code));
  if (!program || code != kSuccess || status != kSuccess) return {};
  code = f.clBuildProgram(program.id(), 1, &device_.id, options.c_str(), nullptr, nullptr);
  if (code != kSuccess) return {};
  return program;
}

GEMMA_INLINE void Context::save_binary(const Program& program, const std::string& file) {
  const Functions& f = device_.functions();
  std::size_t size = 0;
  Int code = f.clGetProgramInfo(program.id(), kProgramBinarySizes, sizeof(size), &size, nullptr);
  if (code != kSuccess || size == 0) return;
  std::vector<std::uint8_t> binary(size);
  std::uint8_t* data = binary.data();
  code = f.clGetProgramInfo(program.id(), kProgramBinaries, sizeof(data), &data, nullptr);
  if (code != kSuccess) return;
  // A cache that cannot be written only costs time.
  Result<OutputFile> out = OutputFile::create(file);
  if (!out || !out->write(Bytes(binary.data(), binary.size()))) return;
  (void)out->commit();
}

GEMMA_INLINE Result<Program> Context::build(const std::string& source, const std::string& options,
                                            const std::string& cache) {
  const std::string key = device_.platform_name + '|' + device_.name + '|' + device_.driver + '|' +
                          device_.version + '|' + options + '|' + source;
  const std::string file = cache.empty() ? "" : cache + "/" + detail::hash_name(key) + ".clbin";
  if (!file.empty()) {
    Program cached = build_binary(file, options);
    if (cached) return cached;
  }
  GEMMA_TRY_ASSIGN(Program program, build_source(source, options));
  if (!file.empty()) save_binary(program, file);
  return program;
}

GEMMA_INLINE Result<Kernel> Context::create_kernel(const Program& program,
                                                   const std::string& name) {
  const Functions& f = device_.functions();
  Int code = kSuccess;
  Kernel kernel;
  kernel.handle = {f, f.clCreateKernel(program.id(), name.c_str(), &code)};
  if (!kernel.handle || code != kSuccess) {
    return failed("clCreateKernel", name, code, ErrorCode::build_failed);
  }
  kernel.name = name;
  return kernel;
}

GEMMA_INLINE Result<std::size_t> Context::work_group_size(const Kernel& kernel) {
  std::size_t size = 0;
  const Int code = device_.functions().clGetKernelWorkGroupInfo(
      kernel.handle.id(), device_.id, kKernelWorkGroupSize, sizeof(size), &size, nullptr);
  if (code != kSuccess) {
    return failed("clGetKernelWorkGroupInfo", kernel.name, code, ErrorCode::build_failed);
  }
  return size;
}

GEMMA_INLINE Status Context::enqueue(const Kernel& kernel, std::array<std::size_t, 2> groups,
                                     std::size_t items) {
  const std::size_t global[2] = {groups[0] * items, groups[1]};
  const std::size_t local[2] = {items, 1};
  const UInt dimensions = groups[1] > 1 ? 2 : 1;
  const Int code = device_.functions().clEnqueueNDRangeKernel(
      queue_.id(), kernel.handle.id(), dimensions, nullptr, global, local, 0, nullptr, nullptr);
  if (code != kSuccess) return failed("clEnqueueNDRangeKernel", kernel.name, code);
  return {};
}

GEMMA_INLINE Status Context::flush() {
  const Int code = device_.functions().clFlush(queue_.id());
  if (code != kSuccess) return failed("clFlush", "sending commands", code);
  return {};
}

GEMMA_INLINE Status Context::finish() {
  const Int code = device_.functions().clFinish(queue_.id());
  if (code != kSuccess) return failed("clFinish", "waiting for the device", code);
  return {};
}

}  // namespace opencl
GEMMA_NAMESPACE_END

#endif  // GEMMA_OPENCL_IMPL_CONTEXT_INL_HPP_
