// What an OpenCL device says of itself.
#ifndef GEMMA_OPENCL_DEVICE_HPP_
#define GEMMA_OPENCL_DEVICE_HPP_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "gemma/opencl/api.hpp"

GEMMA_NAMESPACE_BEGIN
namespace opencl {

/// One device and what was found out by asking, before anything is run on it.
struct Device {
  Platform platform;                     ///< whose functions it is called by
  DeviceId id = nullptr;                 ///< valid as long as the process lives
  std::string platform_name;             ///< "NVIDIA CUDA"
  std::string name;                      ///< for people; never empty
  std::string vendor;                    ///< "NVIDIA Corporation"
  std::string driver;                    ///< the driver's version
  std::string version;                   ///< "OpenCL 3.0 CUDA"
  std::string c_version;                 ///< "OpenCL C 1.2 "
  std::string extensions;                ///< words between spaces
  Bits type = 0;                         ///< kTypeGpu, …
  std::uint64_t global_memory = 0;       ///< bytes
  std::uint64_t largest_allocation = 0;  ///< bytes
  std::uint64_t local_memory = 0;        ///< bytes per work-group
  std::size_t work_group_size = 0;       ///< work-items at most
  std::size_t compute_units = 0;         ///< cores, in their maker's sense
  std::size_t clock_mhz = 0;             ///< the highest
  std::size_t base_align = 0;            ///< of sub-buffers, bytes
  std::size_t nvidia_compute = 0;        ///< compute capability · 10; 0: not NVIDIA's
  bool available = false;                ///< as it says itself
  bool compiler = false;                 ///< whether kernels can be compiled from source
  bool little_endian = false;            ///< as weights are
  bool unified_memory = false;           ///< shared with the CPU
  bool fp16 = false;                     ///< cl_khr_fp16
  bool integer_dot = false;              ///< cl_khr_integer_dot_product
  bool subgroups = false;                ///< cl_khr_subgroups

  const Functions& functions() const { return *platform.functions; }  ///< to call its platform by
};

/// The devices of all platforms, in their order. `remarks` gets a line for each platform that has
/// none or cannot be asked. A query that fails leaves its member as it is above.
std::vector<Device> list_devices(const std::vector<Platform>& platforms,
                                 std::vector<std::string>& remarks);

}  // namespace opencl
GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/opencl/impl/device-inl.hpp"
#endif

#endif  // GEMMA_OPENCL_DEVICE_HPP_
