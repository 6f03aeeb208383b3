// Bodies of device.hpp.
#ifndef GEMMA_OPENCL_IMPL_DEVICE_INL_HPP_
#define GEMMA_OPENCL_IMPL_DEVICE_INL_HPP_

#include <algorithm>

#include "gemma/opencl/device.hpp"

GEMMA_NAMESPACE_BEGIN
namespace opencl {
namespace detail {

/// The text that ask(size, data, needed) gives; empty where it fails.
template <class Ask>
std::string ask_text(const Ask& ask) {
  constexpr std::size_t kMost = std::size_t{1} << 20;
  std::size_t size = 0;
  if (ask(0, nullptr, &size) != kSuccess || size == 0 || size > kMost) return {};
  std::string text(size, '\0');
  if (ask(size, &text[0], nullptr) != kSuccess) return {};
  text.resize((std::min)(text.find('\0'), text.size()));
  // Some pad their names with spaces, Intel's on both sides.
  const std::size_t first = text.find_first_not_of(' ');
  if (first == std::string::npos) return {};
  return text.substr(first, text.find_last_not_of(' ') + 1 - first);
}

/// Asks one device; what cannot be answered leaves its target as it is.
class DeviceQuery {
 public:
  DeviceQuery(const Functions& functions, DeviceId id) : functions_(functions), id_(id) {}

  /// T is the type that OpenCL answers with.
  template <class T, class Target>
  void number(UInt what, Target& target) const {
    T value = 0;
    const Int code = functions_.clGetDeviceInfo(id_, what, sizeof(value), &value, nullptr);
    if (code == kSuccess) target = static_cast<Target>(value);
  }
  void flag(UInt what, bool& target) const {
    UInt value = target ? 1 : 0;
    number<UInt>(what, value);
    target = value != 0;
  }
  std::string text(UInt what) const {
    return ask_text([&](std::size_t size, void* data, std::size_t* needed) {
      return functions_.clGetDeviceInfo(id_, what, size, data, needed);
    });
  }

 private:
  const Functions& functions_;
  DeviceId id_;
};

/// Whether `name` is one of the words of `extensions`.
inline bool has_extension(const std::string& extensions, const std::string& name) {
  return (' ' + extensions + ' ').find(' ' + name + ' ') != std::string::npos;
}

inline Device describe_device(const Platform& platform, const std::string& platform_name,
                              DeviceId id) {
  const DeviceQuery query(*platform.functions, id);
  Device device;
  device.platform = platform;
  device.id = id;
  device.platform_name = platform_name;
  device.name = query.text(kDeviceName);
  if (device.name.empty()) device.name = "a device without a name";
  device.vendor = query.text(kDeviceVendor);
  device.driver = query.text(kDriverVersion);
  device.version = query.text(kDeviceVersion);
  device.c_version = query.text(kDeviceCVersion);
  device.extensions = query.text(kDeviceExtensions);
  query.number<Bits>(kDeviceType, device.type);
  query.number<std::uint64_t>(kDeviceGlobalMemory, device.global_memory);
  query.number<std::uint64_t>(kDeviceLargestAllocation, device.largest_allocation);
  query.number<std::uint64_t>(kDeviceLocalMemory, device.local_memory);
  query.number<std::size_t>(kDeviceWorkGroupSize, device.work_group_size);
  query.number<UInt>(kDeviceComputeUnits, device.compute_units);
  query.number<UInt>(kDeviceClock, device.clock_mhz);
  query.number<UInt>(kDeviceBaseAlign, device.base_align);
  device.base_align /= 8;  // it is told in bits
  query.flag(kDeviceAvailable, device.available);
  query.flag(kDeviceCompiler, device.compiler);
  query.flag(kDeviceLittleEndian, device.little_endian);
  query.flag(kDeviceUnifiedMemory, device.unified_memory);
  device.fp16 = has_extension(device.extensions, "cl_khr_fp16");
  device.integer_dot = has_extension(device.extensions, "cl_khr_integer_dot_product");
  device.subgroups = has_extension(device.extensions, "cl_khr_subgroups");
  if (has_extension(device.extensions, "cl_nv_device_attribute_query")) {
    std::size_t major = 0;
    std::size_t minor = 0;
    query.number<UInt>(kDeviceNvidiaMajor, major);
    query.number<UInt>(kDeviceNvidiaMinor, minor);
    device.nvidia_compute = 10 * major + minor;
  }
  return device;
}

}  // namespace detail

GEMMA_INLINE std::vector<Device> list_devices(const std::vector<Platform>& platforms,
                                              std::vector<std::string>& remarks) {
  constexpr UInt kMost = 256;
  std::vector<Device> devices;
  for (const Platform& platform : platforms) {
    const Functions& f = *platform.functions;
    std::string name =
        detail::ask_text([&](std::size_t size, void* data, std::size_t* needed) {
          return f.clGetPlatformInfo(platform.id, kPlatformName, size, data, needed);
        });
    if (name.empty()) name = "a platform without a name";
    const std::string place = name + " (" + platform.library + ")";
    UInt count = 0;
    Int code = f.clGetDeviceIDs(platform.id, kTypeAll, 0, nullptr, &count);
    if (code == kDeviceNotFound || (code == kSuccess && count == 0)) {
      remarks.push_back(place + " has no device");
      continue;
    }
    std::vector<DeviceId> ids((std::min)(count, kMost));
    if (code == kSuccess) {
      code = f.clGetDeviceIDs(platform.id, kTypeAll, static_cast<UInt>(ids.size()), ids.data(),
                              nullptr);
    }
    if (code != kSuccess) {
      remarks.push_back(place + " cannot list its devices: clGetDeviceIDs failed with " +
                        error_name(code));
      continue;
    }
    for (const DeviceId id : ids) devices.push_back(detail::describe_device(platform, name, id));
  }
  return devices;
}

}  // namespace opencl
GEMMA_NAMESPACE_END

#endif  // GEMMA_OPENCL_IMPL_DEVICE_INL_HPP_
