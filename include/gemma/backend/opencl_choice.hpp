// Which OpenCL device to use, and why each of the others is not used.
#ifndef GEMMA_BACKEND_OPENCL_CHOICE_HPP_
#define GEMMA_BACKEND_OPENCL_CHOICE_HPP_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "gemma/base/error.hpp"
#include "gemma/base/lock_file.hpp"
#include "gemma/opencl/device.hpp"

GEMMA_NAMESPACE_BEGIN

/// What the user wants of OpenCL. `allow` and `deny` hold parts, in any case, of a device's
/// "platform | vendor | name | driver".
struct OpenClOptions {
  std::string library;             ///< the only OpenCL library to try; empty: the usual ones
  std::vector<std::string> allow;  ///< if any: only devices with one of them
  std::vector<std::string> deny;   ///< no device with one of these
  bool allow_cpu = false;          ///< devices that are no GPU, too, if no GPU is usable
  /// For compiled kernels and notes of starts that did not finish; empty: see with_environment().
  std::string cache_folder;
  bool time_it = true;             ///< Backend::automatic takes the faster of device and CPU
  /// The last so many layers, and the head, run on the device, the first ones on the CPU; 0: all
  /// on the CPU. None: as many as the device's memory holds.
  std::optional<std::size_t> gpu_layers;
};

/// The options with what the environment adds to them: GEMMA_OPENCL_LIBRARY, GEMMA_OPENCL_DEVICES
/// (comma-separated; entries that begin with '-' or '!' are denied, others allowed),
/// GEMMA_OPENCL_ALLOW_CPU=1 and GEMMA_OPENCL_CACHE, without which it is user_cache_folder(). That
/// folder is made; if it cannot be, it is empty. What `options` already say counts more.
OpenClOptions with_environment(OpenClOptions options);

/// Bytes of a device's memory that a model takes there.
struct DeviceNeeds {
  std::uint64_t whole = 0;            ///< all of it
  /// The last layer and the head, the last two layers and the head, …: one entry fewer than there
  /// are layers. Empty: it cannot be divided.
  std::vector<std::uint64_t> layers;

  std::size_t most_layers(std::uint64_t bytes) const;  ///< that fit into so many bytes
};

/// Whether a device is used, or why not.
enum class Verdict {
  usable,             ///< passes every check, but another was chosen
  chosen,             ///< the one that is used
  denied,             ///< by OpenClOptions::deny
  not_allowed,        ///< not among OpenClOptions::allow
  unavailable,        ///< as it says itself
  no_compiler,        ///< in its driver, for kernels
  too_old,            ///< for OpenCL 1.2
  big_endian,         ///< weights are little-endian
  not_a_gpu,          ///< and OpenClOptions::allow_cpu is not set
  too_little_memory,  ///< for the layers that it would have to hold
  crashed_before,     ///< an earlier program ended while starting it
  unsupported_model,  ///< by the kernels
  out_of_memory,      ///< when the model was sent there
  build_failed,       ///< its compiler does not make the kernels
  self_test_failed,   ///< it computes wrong numbers
  too_slow,           ///< works, but the CPU is faster
  failed              ///< starting it went wrong in another way
};

/// "usable", "chosen", "denied", …
const char* verdict_name(Verdict verdict);

/// What an error of create_opencl_runner(), or of the runner's first tokens, says about the device.
Verdict verdict_of(const Error& error);

/// What became of one device.
struct DeviceReport {
  opencl::Device device;              ///< what it says of itself
  Verdict verdict = Verdict::usable;  ///< what came of it
  std::string reason;                 ///< one sentence, which does not name the device
  std::optional<std::size_t> layers;  ///< of the model, that it would run, if not all
};

/// All devices that were found, and which of them is used.
struct OpenClChoice {
  std::vector<DeviceReport> devices;  ///< in the order of their platforms
  std::vector<std::string> remarks;   ///< about platforms
  int chosen = -1;                    ///< index of a device; -1: none
  std::string reason;                 ///< why that one, or why none: one sentence
};

/// Finds all devices and chooses one that can hold the model, or else the most of its layers: the
/// fastest GPU, by its compute units and clock, of those with memory of their own if there are any.
/// No library, platform or device is a reason like others, not an error.
OpenClChoice choose_opencl_device(const OpenClOptions& options, const DeviceNeeds& needs);

/// The same among these devices.
OpenClChoice choose_opencl_device(const OpenClOptions& options, const DeviceNeeds& needs,
                                  std::vector<opencl::Device> devices);

/// Gives up the chosen device, which failed with the error `why`, and chooses the next best.
void choose_next_opencl_device(OpenClChoice& choice, const Error& why);

/// Notes in the cache folder that a device is being started: a driver that ends the process does so
/// only once. Without a folder it does nothing.
class Sentinel {
 public:
  /// The note of this device; arm() writes it. An empty folder: none.
  Sentinel(const std::string& cache_folder, const opencl::Device& device);

  /// The file; empty without a folder.
  const std::string& path() const { return path_; }
  /// Whether an earlier process wrote the file and ended before it could remove it.
  bool left_behind() const;

  /// Writes the file, unless another process holds it.
  void arm();
  void disarm() { file_.release(); }  ///< also done when the Sentinel ends

 private:
  std::string path_;
  std::string text_;
  LockFile file_;
};

GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/backend/impl/opencl_choice-inl.hpp"
#endif

#endif  // GEMMA_BACKEND_OPENCL_CHOICE_HPP_
