#include "gemma/opencl/api.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "temp_folder.hpp"

namespace opencl = gemma::opencl;
using gemma::ErrorCode;
using gemma::Result;
using opencl::Int;
using opencl::Platform;

namespace {

bool holds(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// Calls every function of a platform as a program would; the result of a kernel shows whether each
/// place in the table holds what its name says.
void check_all_functions(const Platform& platform) {
  const opencl::Functions& f = *platform.functions;
  opencl::UInt count = 0;
  CHECK(f.clGetPlatformIDs(0, nullptr, &count) == opencl::kSuccess);
  CHECK(count > 0);
  char text[256] = "";
  CHECK(f.clGetPlatformInfo(platform.id, opencl::kPlatformVersion, sizeof text, text, nullptr) ==
        opencl::kSuccess);
  CHECK(holds(text, "OpenCL"));
  opencl::DeviceId device = nullptr;
  REQUIRE(f.clGetDeviceIDs(platform.id, opencl::kTypeAll, 1, &device, nullptr) ==
          opencl::kSuccess);
  CHECK(f.clGetDeviceInfo(device, opencl::kDeviceVersion, sizeof text, text, nullptr) ==
        opencl::kSuccess);
  CHECK(holds(text, "OpenCL"));
  Int code = -1;
  opencl::ContextId context = f.clCreateContext(nullptr, 1, &device, nullptr, nullptr, &code);
  REQUIRE(code == opencl::kSuccess);
  opencl::QueueId queue = f.clCreateCommandQueue(context, device, 0, &code);
  REQUIRE(code == opencl::kSuccess);
  opencl::MemoryId buffer =
      f.clCreateBuffer(context, opencl::kReadWrite, 4 * sizeof(float), nullptr, &code);
  REQUIRE(code == opencl::kSuccess);

  const char* source = "__kernel void twice(__global float* x) { x[get_global_id(0)] *= 2.0f; }";
  opencl::ProgramId program =
      f.clCreateProgramWithSource(context, 1, &source, nullptr, &code);
  REQUIRE(code == opencl::kSuccess);
  REQUIRE(f.clBuildProgram(program, 1, &device, "", nullptr, nullptr) == opencl::kSuccess);
  std::size_t log_size = 0;
  CHECK(f.clGetProgramBuildInfo(program, device, opencl::kProgramBuildLog, 0, nullptr,
                                &log_size) == opencl::kSuccess);
  std::size_t size = 0;
  CHECK(f.clGetProgramInfo(program, opencl::kProgramBinarySizes, sizeof size, &size, nullptr) ==
        opencl::kSuccess);
  REQUIRE(size > 0);
  std::string binary(size, '\0');
  char* data = &binary[0];
  CHECK(f.clGetProgramInfo(program, opencl::kProgramBinaries, sizeof data, &data, nullptr) ==
        opencl::kSuccess);
  CHECK(f.clReleaseProgram(program) == opencl::kSuccess);

  const auto* bytes = reinterpret_cast<const unsigned char*>(binary.data());
  Int status = -1;
  program = f.clCreateProgramWithBinary(context, 1, &device, &size, &bytes, &status, &code);
  REQUIRE(code == opencl::kSuccess);
  REQUIRE(f.clBuildProgram(program, 1, &device, "", nullptr, nullptr) == opencl::kSuccess);
  opencl::KernelId kernel = f.clCreateKernel(program, "twice", &code);
  REQUIRE(code == opencl::kSuccess);
  CHECK(f.clGetKernelWorkGroupInfo(kernel, device, opencl::kKernelWorkGroupSize, sizeof size,
                                   &size, nullptr) == opencl::kSuccess);
  CHECK(size > 0);

  float x[4] = {1.0f, 2.0f, 3.0f, 4.0f};
  CHECK(f.clEnqueueWriteBuffer(queue, buffer, 1, 0, sizeof x, x, 0, nullptr, nullptr) ==
        opencl::kSuccess);
  CHECK(f.clSetKernelArg(kernel, 0, sizeof buffer, &buffer) == opencl::kSuccess);
  const std::size_t items = 4;
  CHECK(f.clEnqueueNDRangeKernel(queue, kernel, 1, nullptr, &items, nullptr, 0, nullptr,
                                 nullptr) == opencl::kSuccess);
  CHECK(f.clFlush(queue) == opencl::kSuccess);
  CHECK(f.clFinish(queue) == opencl::kSuccess);
  CHECK(f.clEnqueueReadBuffer(queue, buffer, 1, 0, sizeof x, x, 0, nullptr, nullptr) ==
        opencl::kSuccess);
  CHECK(x[0] == 2.0f);
  CHECK(x[3] == 8.0f);

  CHECK(f.clReleaseKernel(kernel) == opencl::kSuccess);
  CHECK(f.clReleaseProgram(program) == opencl::kSuccess);
  CHECK(f.clReleaseMemObject(buffer) == opencl::kSuccess);
  CHECK(f.clReleaseCommandQueue(queue) == opencl::kSuccess);
  CHECK(f.clReleaseContext(context) == opencl::kSuccess);
}

/// The platforms, or none where there is no OpenCL.
std::vector<Platform> platforms() {
  Result<std::vector<Platform>> found = opencl::find_platforms("");
  return found ? *std::move(found) : std::vector<Platform>();
}

}  // namespace

TEST_CASE("a library that is not there is named, with what the system says") {
  const auto found = opencl::find_platforms("/nonexistent/libOpenCL.so.1");
  REQUIRE_FALSE(found.ok());
  CHECK(found.error().code() == ErrorCode::io);
  CHECK(holds(found.error().message(), "/nonexistent/libOpenCL.so.1: "));
#if defined(__linux__)
  CHECK(holds(found.error().message(), "No such file"));
#endif
}

#if defined(__linux__)

TEST_CASE("a library that is not OpenCL is said to be none") {
  const auto found = opencl::find_platforms("libm.so.6");
  REQUIRE_FALSE(found.ok());
  CHECK(found.error().code() == ErrorCode::io);
  CHECK(holds(found.error().message(), "libm.so.6 has none of OpenCL's functions"));
  CHECK(holds(found.error().message(), "clIcdGetPlatformIDsKHR"));
}

#endif

TEST_CASE("a file that is no library is said to be none") {
  const TempFolder folder;
  folder.write("libOpenCL.so", "not a library");
  const auto found = opencl::find_platforms(folder.path("libOpenCL.so"));
  REQUIRE_FALSE(found.ok());
  CHECK(holds(found.error().message(), folder.path("libOpenCL.so") + ": "));
}

TEST_CASE("all functions work through a loader") {
  const std::vector<Platform> found = platforms();
  if (found.empty()) {
    MESSAGE("skipped: this machine has no OpenCL");
    return;
  }
  check_all_functions(found.front());
}

TEST_CASE("a driver that the loader lists is not listed twice") {
  const std::vector<Platform> found = platforms();
  for (std::size_t i = 0; i < found.size(); ++i) {
    for (std::size_t k = 0; k < i; ++k) CHECK(found[i].id != found[k].id);
  }
}

#if defined(__linux__)

TEST_CASE("all functions work without a loader, from the table of a driver") {
  constexpr const char* kPocl = "libpocl.so.2";
  const auto found = opencl::find_platforms(kPocl);
  if (!found) {
    MESSAGE("skipped: " << found.error().message());
    return;
  }
  REQUIRE(found->size() == 1);
  CHECK(found->front().library == kPocl);
  check_all_functions(found->front());
}

#endif

TEST_CASE("numbers of errors have names") {
  CHECK(opencl::error_name(-5) == "CL_OUT_OF_RESOURCES (-5)");
  CHECK(opencl::error_name(-11) == "CL_BUILD_PROGRAM_FAILURE (-11)");
  CHECK(opencl::error_name(-1001) == "CL_PLATFORM_NOT_FOUND_KHR (-1001)");
  CHECK(opencl::error_name(-9999) == "error -9999");
}
