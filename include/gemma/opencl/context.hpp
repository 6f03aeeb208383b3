// A device in use: memory, programs and launches, with every status checked.
#ifndef GEMMA_OPENCL_CONTEXT_HPP_
#define GEMMA_OPENCL_CONTEXT_HPP_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gemma/opencl/device.hpp"

GEMMA_NAMESPACE_BEGIN
namespace opencl {

/// Owns one OpenCL object; Release is the member of Functions that gives it back.
template <class Id, Int(GEMMA_OPENCL_CALL* Functions::*Release)(Id)>
class Handle {
 public:
  Handle() = default;
  /// Takes `id` over, which may be null; `functions` must outlive the handle.
  Handle(const Functions& functions, Id id) : functions_(&functions), id_(id) {}
  /// Leaves `other` without an object.
  Handle(Handle&& other) noexcept
      : functions_(other.functions_), id_(std::exchange(other.id_, nullptr)) {}
  /// Exchanges the objects.
  Handle& operator=(Handle&& other) noexcept {
    std::swap(functions_, other.functions_);
    std::swap(id_, other.id_);
    return *this;
  }
  ~Handle() {
    if (id_ != nullptr) (functions_->*Release)(id_);
  }

  Id id() const { return id_; }                              ///< null: none
  explicit operator bool() const { return id_ != nullptr; }  ///< whether there is an object

 private:
  const Functions* functions_ = nullptr;
  Id id_ = nullptr;
};

using Buffer = Handle<MemoryId, &Functions::clReleaseMemObject>;  ///< memory of a device
using Program = Handle<ProgramId, &Functions::clReleaseProgram>;  ///< compiled for one device

/// A function of a program.
struct Kernel {
  Handle<KernelId, &Functions::clReleaseKernel> handle;  ///< keeps its program alive
  std::string name;                                      ///< of the function, for errors
};

/// Bytes of local memory, as an argument of a kernel.
struct LocalBytes {
  std::size_t size;  ///< bytes per work-group
};

/// One in-order queue on one device. Errors have ErrorCode::backend, out_of_memory or build_failed,
/// and name the call, what it was for and OpenCL's error.
class Context {
 public:
  /// An error if the driver makes no context or no queue.
  static Result<std::unique_ptr<Context>> create(const Device& device);

  const Device& device() const { return device_; }  ///< a copy of the one given

  /// Memory of at least one byte; `what` it is for goes into the error.
  Result<Buffer> create_buffer(std::size_t bytes, const std::string& what);
  /// Returns when the bytes are copied.
  Status write(const Buffer& buffer, std::size_t offset, const void* data, std::size_t bytes);
  /// Waits for all launches before it.
  Status read(const Buffer& buffer, std::size_t offset, void* data, std::size_t bytes);
  /// Zeros all of a buffer of `bytes`.
  Status clear(const Buffer& buffer, std::size_t bytes);

  /// Compiles `source`, or takes what an earlier run of it left in the folder `cache` (empty: none):
  /// files are named after device, driver, source and options. An error holds the compiler's words.
  Result<Program> build(const std::string& source, const std::string& options,
                        const std::string& cache);
  /// An error if the program has no kernel of that name.
  Result<Kernel> create_kernel(const Program& program, const std::string& name);
  /// Work-items that a group of this kernel may have here.
  Result<std::size_t> work_group_size(const Kernel& kernel);

  /// Runs `groups` groups of `items` items. Arguments: Buffer, MemoryId (null is a null pointer),
  /// LocalBytes, or a number of the kernel's own type.
  template <class... Arguments>
  Status launch(const Kernel& kernel, std::array<std::size_t, 2> groups, std::size_t items,
                const Arguments&... arguments) {
    UInt index = 0;
    Int code = kSuccess;
    const auto set = [&](const auto& argument) {
      if (code == kSuccess) code = set_argument(kernel.handle.id(), index++, argument);
    };
    (set(arguments), ...);
    if (code != kSuccess) return failed("clSetKernelArg", kernel.name, code);
    return enqueue(kernel, groups, items);
  }
  /// Sends what was launched to the device without waiting.
  Status flush();
  /// Sends what was launched, and waits until it is done.
  Status finish();

 private:
  explicit Context(const Device& device) : device_(device) {}

  Status enqueue(const Kernel& kernel, std::array<std::size_t, 2> groups, std::size_t items);
  Error failed(const char* call, const std::string& what, Int code,
               ErrorCode kind = ErrorCode::backend) const;
  Result<Program> build_source(const std::string& source, const std::string& options);
  Program build_binary(const std::string& file, const std::string& options);
  void save_binary(const Program& program, const std::string& file);
  std::string build_log(const Program& program) const;

  Int set_argument(KernelId kernel, UInt index, const Buffer& buffer) {
    return set_argument(kernel, index, buffer.id());
  }
  Int set_argument(KernelId kernel, UInt index, MemoryId id) {
    return device_.functions().clSetKernelArg(kernel, index, sizeof(id), &id);
  }
  Int set_argument(KernelId kernel, UInt index, LocalBytes local) {
    return device_.functions().clSetKernelArg(kernel, index, local.size, nullptr);
  }
  template <class Number>
  Int set_argument(KernelId kernel, UInt index, const Number& number) {
    static_assert(std::is_same<Number, UInt>::value || std::is_same<Number, Int>::value ||
                      std::is_same<Number, float>::value,
                  "kernels take uint, int and float");
    return device_.functions().clSetKernelArg(kernel, index, sizeof(number), &number);
  }

  Device device_;
  Handle<ContextId, &Functions::clReleaseContext> context_;
  Handle<QueueId, &Functions::clReleaseCommandQueue> queue_;
};

}  // namespace opencl
GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/opencl/impl/context-inl.hpp"
#endif

#endif  // GEMMA_OPENCL_CONTEXT_HPP_
