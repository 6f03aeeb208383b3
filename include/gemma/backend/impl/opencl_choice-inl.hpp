// Bodies of opencl_choice.hpp.
#ifndef GEMMA_BACKEND_IMPL_OPENCL_CHOICE_INL_HPP_
#define GEMMA_BACKEND_IMPL_OPENCL_CHOICE_INL_HPP_

#include <algorithm>
#include <string_view>
#include <tuple>
#include <utility>

#include "gemma/backend/opencl_choice.hpp"
#include "gemma/base/environment.hpp"
#include "gemma/opencl/context.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

inline std::string lower_case(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

/// What users name devices by.
inline std::string device_words(const opencl::Device& device) {
  return device.platform_name + " | " + device.vendor + " | " + device.name + " | " +
         device.driver;
}

/// The first of `parts` that is in `words`; null if none is.
inline const std::string* find_part(const std::vector<std::string>& parts,
                                    const std::string& words) {
  const std::string text = lower_case(words);
  for (const std::string& part : parts) {
    if (text.find(lower_case(part)) != std::string::npos) return &part;
  }
  return nullptr;
}

inline std::string_view trim(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

/// Sorts the entries of GEMMA_OPENCL_DEVICES.
inline void split_devices(std::string_view list, std::vector<std::string>& allow,
                          std::vector<std::string>& deny) {
  for (bool more = true; more;) {
    const std::size_t comma = list.find(',');
    std::string_view entry = trim(list.substr(0, comma));
    const bool no = !entry.empty() && (entry[0] == '-' || entry[0] == '!');
    if (no) entry = trim(entry.substr(1));
    if (!entry.empty()) (no ? deny : allow).emplace_back(entry);
    more = comma != std::string_view::npos;
    if (more) list.remove_prefix(comma + 1);
  }
}

using Judgement = std::pair<Verdict, std::string>;

inline std::string layers_of(std::size_t n, const DeviceNeeds& needs) {
  return std::to_string(n) + " of " + std::to_string(needs.layers.size() + 1) + " layers";
}

/// Whether the device's memory holds the model, or the layers that are to be or can be there.
inline Judgement judge_memory(const opencl::Device& device, const OpenClOptions& options,
                              const DeviceNeeds& needs, std::optional<std::size_t>& layers) {
  if (device.global_memory == 0) {
    return {Verdict::too_little_memory, "its driver does not say how much memory it has"};
  }
  // The screen and other programs need some of it.
  const std::uint64_t usable = device.global_memory / 10 * 9;
  const std::size_t wanted = options.gpu_layers.value_or(needs.layers.size() + 1);
  const bool whole = wanted == 0 || wanted > needs.layers.size();
  const std::uint64_t needed = whole ? needs.whole : needs.layers[wanted - 1];
  if (!whole) layers = wanted;
  if (needed <= usable) {
    return {Verdict::usable,
            whole ? "it passes every check" : "it gets " + layers_of(wanted, needs)};
  }
  const std::size_t most = needs.most_layers(usable);
  if (!options.gpu_layers && most > 0) {
    layers = most;
    return {Verdict::usable, "its memory holds " + layers_of(most, needs)};
  }
  constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
  std::string reason = (whole ? "the model needs " : layers_of(wanted, needs) + " need ") +
                       std::to_string((needed + kMiB - 1) / kMiB) + " MiB there, but only " +
                       std::to_string(usable / kMiB) + " MiB, 90 % of its memory, may be used";
  if (most > 0) reason += "; it holds " + layers_of(most, needs);
  return {Verdict::too_little_memory, std::move(reason)};
}

/// usable, or the first check that the device fails; and why.
inline Judgement judge_device(const opencl::Device& device, const OpenClOptions& options,
                              const DeviceNeeds& needs, std::optional<std::size_t>& layers) {
  const std::string words = device_words(device);
  if (const std::string* part = find_part(options.deny, words)) {
    return {Verdict::denied, "it is denied by the entry \"" + *part + "\""};
  }
  if (!options.allow.empty() && find_part(options.allow, words) == nullptr) {
    return {Verdict::not_allowed,
            "no entry of the list of allowed devices is part of \"" + words + "\""};
  }
  if (!device.available) return {Verdict::unavailable, "its driver says that it is not available"};
  if (!device.compiler) return {Verdict::no_compiler, "its driver has no compiler for kernels"};
  // "OpenCL", a space, the version, and what the driver likes to add.
  const std::string version = device.version.substr(0, device.version.find(' ', 7));
  if (version == "OpenCL 1.0" || version == "OpenCL 1.1") {
    return {Verdict::too_old, "it offers " + version + ", but OpenCL 1.2 is needed"};
  }
  if (!device.little_endian) {
    return {Verdict::big_endian, "it is big-endian, but weights are little-endian"};
  }
  if ((device.type & opencl::kTypeGpu) == 0 && !options.allow_cpu) {
    return {Verdict::not_a_gpu, "it is not a GPU, so that the CPU backend is likely to be faster"};
  }
  Judgement memory = judge_memory(device, options, needs, layers);
  if (memory.first != Verdict::usable) return memory;
  const Sentinel sentinel(options.cache_folder, device);
  if (sentinel.left_behind()) {
    return {Verdict::crashed_before, "an earlier program ended while starting it; delete " +
                                         sentinel.path() + " to try again"};
  }
  return memory;
}

/// Whether `x` is to be preferred to `y`.
inline bool is_better(const DeviceReport& x, const DeviceReport& y) {
  const opencl::Device& a = x.device;
  const opencl::Device& b = y.device;
  const bool gpu = (a.type & opencl::kTypeGpu) != 0;
  if (gpu != ((b.type & opencl::kTypeGpu) != 0)) return gpu;
  constexpr std::size_t kAll = static_cast<std::size_t>(-1);
  const std::size_t layers = x.layers.value_or(kAll);
  if (layers != y.layers.value_or(kAll)) return layers > y.layers.value_or(kAll);
  // Compute units of a GPU that shares the CPU's memory are much smaller.
  if (gpu && a.unified_memory != b.unified_memory) return !a.unified_memory;
  return a.compute_units * a.clock_mhz > b.compute_units * b.clock_mhz;
}

/// Chooses the best usable device and says why.
inline void choose_best(OpenClChoice& choice) {
  DeviceReport* best = nullptr;
  std::size_t usable = 0;
  std::string reasons;
  choice.chosen = -1;
  for (std::size_t i = 0; i < choice.devices.size(); ++i) {
    DeviceReport& report = choice.devices[i];
    reasons += (reasons.empty() ? "" : "; ") + report.device.name + ": " + report.reason;
    if (report.verdict != Verdict::usable) continue;
    ++usable;
    if (best != nullptr && !is_better(report, *best)) continue;
    best = &report;
    choice.chosen = static_cast<int>(i);
  }
  if (best == nullptr) {
    choice.reason = reasons.empty() ? "there is no OpenCL device" : reasons;
    return;
  }
  best->verdict = Verdict::chosen;
  choice.reason =
      best->device.name +
      (usable == 1 ? " is the only usable device"
                   : " is likely to be the fastest of " + std::to_string(usable) + " devices");
  if (best->layers) choice.reason += ", and " + best->reason;
}

}  // namespace detail

GEMMA_INLINE const char* verdict_name(Verdict verdict) {
  switch (verdict) {
    case Verdict::usable: return "usable";
    case Verdict::chosen: return "chosen";
    case Verdict::denied: return "denied";
    case Verdict::not_allowed: return "not_allowed";
    case Verdict::unavailable: return "unavailable";
    case Verdict::no_compiler: return "no_compiler";
    case Verdict::too_old: return "too_old";
    case Verdict::big_endian: return "big_endian";
    case Verdict::not_a_gpu: return "not_a_gpu";
    case Verdict::too_little_memory: return "too_little_memory";
    case Verdict::crashed_before: return "crashed_before";
    case Verdict::unsupported_model: return "unsupported_model";
    case Verdict::out_of_memory: return "out_of_memory";
    case Verdict::build_failed: return "build_failed";
    case Verdict::self_test_failed: return "self_test_failed";
    case Verdict::too_slow: return "too_slow";
    case Verdict::failed: break;
  }
  return "failed";
}

GEMMA_INLINE Verdict verdict_of(const Error& error) {
  switch (error.code()) {
    case ErrorCode::unsupported: return Verdict::unsupported_model;
    case ErrorCode::out_of_memory: return Verdict::out_of_memory;
    case ErrorCode::build_failed: return Verdict::build_failed;
    case ErrorCode::self_test_failed: return Verdict::self_test_failed;
    default: return Verdict::failed;
  }
}

GEMMA_INLINE std::size_t DeviceNeeds::most_layers(std::uint64_t bytes) const {
  const auto fit = std::upper_bound(layers.begin(), layers.end(), bytes);
  return static_cast<std::size_t>(fit - layers.begin());
}

GEMMA_INLINE OpenClOptions with_environment(OpenClOptions options) {
  if (options.library.empty()) options.library = environment("GEMMA_OPENCL_LIBRARY");
  std::vector<std::string> allow;
  detail::split_devices(environment("GEMMA_OPENCL_DEVICES"), allow, options.deny);
  if (options.allow.empty()) options.allow = std::move(allow);
  if (environment("GEMMA_OPENCL_ALLOW_CPU") == "1") options.allow_cpu = true;
  std::string& folder = options.cache_folder;
  if (folder.empty()) folder = environment("GEMMA_OPENCL_CACHE");
  if (folder.empty()) folder = user_cache_folder();
  if (!folder.empty() && !create_folders(folder)) folder.clear();
  return options;
}

GEMMA_INLINE OpenClChoice choose_opencl_device(const OpenClOptions& options,
                                               const DeviceNeeds& needs) {
  OpenClChoice choice;
  const Result<std::vector<opencl::Platform>> platforms = opencl::find_platforms(options.library);
  if (!platforms) {
    choice.reason = platforms.error().message();
    return choice;
  }
  std::vector<std::string> remarks;
  std::vector<opencl::Device> devices = opencl::list_devices(*platforms, remarks);
  choice = choose_opencl_device(options, needs, std::move(devices));
  if (choice.devices.empty()) {
    for (const std::string& remark : remarks) choice.reason += "; " + remark;
  }
  choice.remarks = std::move(remarks);
  return choice;
}

GEMMA_INLINE OpenClChoice choose_opencl_device(const OpenClOptions& options,
                                               const DeviceNeeds& needs,
                                               std::vector<opencl::Device> devices) {
  OpenClChoice choice;
  for (opencl::Device& device : devices) {
    DeviceReport report;
    std::tie(report.verdict, report.reason) =
        detail::judge_device(device, options, needs, report.layers);
    report.device = std::move(device);
    choice.devices.push_back(std::move(report));
  }
  detail::choose_best(choice);
  return choice;
}

GEMMA_INLINE void choose_next_opencl_device(OpenClChoice& choice, const Error& why) {
  if (choice.chosen < 0) return;
  DeviceReport& given_up = choice.devices[static_cast<std::size_t>(choice.chosen)];
  given_up.verdict = verdict_of(why);
  // Errors of a device begin with its name.
  const std::string name = given_up.device.name + ": ";
  const std::string& text = why.message();
  given_up.reason = text.compare(0, name.size(), name) == 0 ? text.substr(name.size()) : text;
  detail::choose_best(choice);
}

GEMMA_INLINE Sentinel::Sentinel(const std::string& cache_folder, const opencl::Device& device)
    : text_(detail::device_words(device) + " is being started\n") {
  if (cache_folder.empty()) return;
  path_ = cache_folder + "/opencl-" + opencl::detail::hash_name(detail::device_words(device)) +
          ".started";
}

GEMMA_INLINE bool Sentinel::left_behind() const {
  return !path_.empty() && LockFile::state(path_) == LockState::left_behind;
}

GEMMA_INLINE void Sentinel::arm() {
  if (!path_.empty()) file_.take(path_, text_);
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_BACKEND_IMPL_OPENCL_CHOICE_INL_HPP_
