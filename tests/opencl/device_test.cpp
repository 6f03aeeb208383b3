#include "gemma/opencl/device.hpp"

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

#include "fault_functions.hpp"

namespace opencl = gemma::opencl;
using opencl::Device;
using opencl::Platform;

namespace {

/// The first platform of this machine that has a device; none where there is no OpenCL.
std::vector<Platform> one_platform() {
  const auto found = opencl::find_platforms("");
  if (!found) return {};
  for (const Platform& platform : *found) {
    std::vector<std::string> remarks;
    if (!opencl::list_devices({platform}, remarks).empty()) return {platform};
  }
  return {};
}

bool holds(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

#define GEMMA_TEST_NEEDS_OPENCL(platforms)                 \
  const std::vector<Platform> platforms = one_platform();  \
  if (platforms.empty()) {                                 \
    MESSAGE("skipped: this machine has no OpenCL device"); \
    return;                                                \
  }

TEST_CASE("a device says what it is") {
  GEMMA_TEST_NEEDS_OPENCL(platforms)
  std::vector<std::string> remarks;
  const std::vector<Device> devices = opencl::list_devices(platforms, remarks);
  CHECK(remarks.empty());
  for (const Device& device : devices) {
    CHECK_FALSE(device.platform_name.empty());
    CHECK_FALSE(device.name.empty());
    CHECK(device.name.front() != ' ');
    CHECK(device.name.find('\0') == std::string::npos);
    CHECK_FALSE(device.vendor.empty());
    CHECK_FALSE(device.driver.empty());
    CHECK(device.version.substr(0, 7) == "OpenCL ");
    CHECK(device.c_version.substr(0, 9) == "OpenCL C ");
    CHECK((device.type & opencl::kTypeAll) != 0);
    CHECK(device.global_memory >= device.largest_allocation);
    CHECK(device.largest_allocation >= (std::uint64_t{1} << 20));
    CHECK(device.local_memory >= 1024);
    CHECK(device.work_group_size >= 1);
    CHECK(device.compute_units >= 1);
    CHECK(device.base_align >= 1);
    CHECK(device.base_align <= 4096);
    CHECK(device.available);
    CHECK(device.little_endian);
    CHECK(&device.functions() == platforms.front().functions.get());
  }
}

TEST_CASE("no query that fails ends the list, or counts as an answer") {
  GEMMA_TEST_NEEDS_OPENCL(platforms)
  constexpr opencl::Int kInvalidValue = -30;
  std::vector<std::string> remarks;
  const std::size_t count = opencl::list_devices(platforms, remarks).size();
  opencl::list_devices({with_fault(platforms.front(), "", 1, kInvalidValue)}, remarks);
  const int calls = fault_state().calls["clGetDeviceInfo"];
  REQUIRE(calls > 10);
  for (int nth = 1; nth <= calls; ++nth) {
    const Platform faulty = with_fault(platforms.front(), "clGetDeviceInfo", nth, kInvalidValue);
    CHECK(opencl::list_devices({faulty}, remarks).size() == count);
  }
  const Platform mute = with_fault(platforms.front(), "clGetDeviceInfo", 0, kInvalidValue);
  for (const Device& device : opencl::list_devices({mute}, remarks)) {
    CHECK(device.name == "a device without a name");
    CHECK(device.version.empty());
    CHECK(device.global_memory == 0);
    CHECK(device.base_align == 0);
    CHECK_FALSE(device.available);
    CHECK_FALSE(device.compiler);
  }
  CHECK(remarks.empty());
}

TEST_CASE("a platform without a device is remarked on, and so is one that fails") {
  GEMMA_TEST_NEEDS_OPENCL(platforms)
  const auto remark_at = [&](opencl::Int code, int nth) {
    std::vector<std::string> remarks;
    const Platform faulty = with_fault(platforms.front(), "clGetDeviceIDs", nth, code);
    CHECK(opencl::list_devices({faulty}, remarks).empty());
    REQUIRE(remarks.size() == 1);
    return remarks.front();
  };
  CHECK(holds(remark_at(opencl::kDeviceNotFound, 1), "has no device"));
  for (const int nth : {1, 2}) {
    const std::string remark = remark_at(opencl::kOutOfHostMemory, nth);
    CHECK(holds(remark, "clGetDeviceIDs failed with CL_OUT_OF_HOST_MEMORY (-6)"));
    CHECK(holds(remark, platforms.front().library));
  }
}

TEST_CASE("one platform that fails does not hide another") {
  GEMMA_TEST_NEEDS_OPENCL(platforms)
  std::vector<std::string> remarks;
  const Platform faulty = with_fault(platforms.front(), "clGetDeviceIDs", 0, -32);
  const auto devices = opencl::list_devices({faulty, platforms.front()}, remarks);
  CHECK(devices.size() == opencl::list_devices(platforms, remarks).size());
  CHECK(remarks.size() == 1);
}

TEST_CASE("a platform that does not tell its name is listed all the same") {
  GEMMA_TEST_NEEDS_OPENCL(platforms)
  std::vector<std::string> remarks;
  const Platform faulty = with_fault(platforms.front(), "clGetPlatformInfo", 0, -32);
  for (const Device& device : opencl::list_devices({faulty}, remarks)) {
    CHECK(device.platform_name == "a platform without a name");
  }
}

TEST_CASE("texts lose their padding, and extensions are whole words") {
  const auto functions = std::make_shared<opencl::Functions>();
  functions->clGetPlatformInfo = [](opencl::PlatformId, opencl::UInt, std::size_t, void*,
                                    std::size_t* size) -> opencl::Int {
    if (size != nullptr) *size = 0;
    return opencl::kSuccess;
  };
  functions->clGetDeviceIDs = [](opencl::PlatformId, opencl::Bits, opencl::UInt,
                                 opencl::DeviceId*, opencl::UInt* count) -> opencl::Int {
    if (count != nullptr) *count = 1;
    return opencl::kSuccess;
  };
  functions->clGetDeviceInfo = [](opencl::DeviceId, opencl::UInt what, std::size_t size,
                                  void* data, std::size_t* needed) -> opencl::Int {
    std::string text;
    if (what == opencl::kDeviceName) text = std::string("  Name of 2 \0 \0", 15);
    if (what == opencl::kDeviceVendor) text = "no zero";
    if (what == opencl::kDriverVersion) text = "   ";
    if (what == opencl::kDeviceExtensions) text = "cl_khr_fp16_more cl_khr_subgroups";
    if (needed != nullptr) *needed = text.size();
    if (data != nullptr) text.copy(static_cast<char*>(data), size);
    return text.empty() ? -30 : opencl::kSuccess;
  };
  std::vector<std::string> remarks;
  const auto devices = opencl::list_devices({{functions, nullptr, "fake"}}, remarks);
  REQUIRE(devices.size() == 1);
  CHECK(devices[0].name == "Name of 2");
  CHECK(devices[0].vendor == "no zero");
  CHECK(devices[0].driver == "");
  CHECK(devices[0].subgroups);
  CHECK_FALSE(devices[0].fp16);
}
