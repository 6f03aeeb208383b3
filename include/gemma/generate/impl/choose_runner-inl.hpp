// Where a session computes: on the CPU, or on an OpenCL device that passes every check.
#ifndef GEMMA_GENERATE_IMPL_CHOOSE_RUNNER_INL_HPP_
#define GEMMA_GENERATE_IMPL_CHOOSE_RUNNER_INL_HPP_

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gemma/backend/cpu.hpp"
#include "gemma/generate/session.hpp"
#include "gemma/model/kv_cache.hpp"
#if defined(GEMMA_OPENCL)
#include <array>
#include <cstdio>

#include "gemma/backend/fallback.hpp"
#include "gemma/backend/opencl.hpp"
#include "gemma/model/part.hpp"
#endif

GEMMA_NAMESPACE_BEGIN
namespace detail {

inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// What a session takes besides the weights.
inline std::uint64_t session_bytes(const Config& config, const CpuOptions& cpu) {
  return KvCache::bytes(config, cpu.context, cpu.batch, cpu.kv_type) +
         cpu_scratch_bytes(config, cpu);
}

/// Of the adapters in use.
inline std::uint64_t adapter_bytes(const SessionOptions& options) {
  std::uint64_t sum = 0;
  for (const SessionAdapter& a : options.adapters) sum += a.adapter.bytes();
  return sum;
}

/// The runner's options where the user left them open.
inline CpuOptions cpu_options(const Model& model, const SessionOptions& options) {
  constexpr std::size_t kDefaultContext = 4096;
  CpuOptions cpu;
  cpu.context = options.context != 0
                    ? options.context
                    : (std::min)(model.config().context_length, kDefaultContext);
  // Who sees what comes after a token needs all of the text at once.
  const bool whole = model.config().bidirectional;
  cpu.batch = whole ? cpu.context : (std::min)(options.batch, cpu.context);
  cpu.threads = options.threads;
  cpu.kv_type = options.kv_type.value_or(model.default_kv_type());
  cpu.two_pass_head = options.two_pass_head;
  if (model.max_resident_bytes() != 0) {
    const std::uint64_t others = session_bytes(model.config(), cpu) + adapter_bytes(options);
    cpu.paging.bytes = model.max_resident_bytes() - (std::min)(others, model.max_resident_bytes());
    cpu.paging.release = [model](Bytes part) { model.source().advise_dontneed(part); };
    cpu.paging.will_need = [model](Bytes part) { model.source().advise_willneed(part); };
  }
  return cpu;
}

/// A runner, and why it is this one: one sentence.
struct ChosenRunner {
  std::unique_ptr<Runner> runner;
  std::string reason;
#if defined(GEMMA_OPENCL)
  std::vector<DeviceReport> devices;
#endif
};

inline Error opencl_refused(const std::string& sentence, const std::string& remedy) {
  return Error(ErrorCode::backend,
               "the OpenCL backend cannot be used: " + sentence + "; " + remedy);
}

inline Error opencl_without_adapters() {
  return opencl_refused("adapters are applied on the CPU only",
                        "choose the CPU, or merge the adapters into the weights of the model");
}

#if defined(GEMMA_OPENCL)

inline OpenClRunnerOptions opencl_options(const CpuOptions& cpu, const OpenClOptions& options) {
  OpenClRunnerOptions device;
  device.context = cpu.context;
  device.batch = cpu.batch;
  device.half_kv = cpu.kv_type != simd::KvType::f32;
  device.cache_folder = options.cache_folder;
  device.threads = cpu.threads;
  return device;
}

inline DeviceNeeds device_needs(const Model& model, OpenClRunnerOptions options) {
  const auto bytes = [&] {
    return plan_opencl_memory(model.config(), model.weights(), options).total();
  };
  DeviceNeeds needs;
  const std::size_t layers = model.config().layers.size();
  options.layers = layers;
  needs.whole = bytes();
  if (!why_indivisible(model.config()).empty()) return needs;
  for (options.layers = 1; options.layers < layers; ++options.layers) {
    needs.layers.push_back(bytes());
  }
  return needs;
}

/// Why the model cannot be divided as the user wants; empty: it can be.
inline std::string why_no_layers(const Config& config, const OpenClOptions& options) {
  if (!options.gpu_layers || *options.gpu_layers >= config.layers.size()) return {};
  if (*options.gpu_layers == 0) return "gpu_layers is 0";
  const std::string why = why_indivisible(config);
  return why.empty() ? why
                     : "gpu_layers is " + std::to_string(*options.gpu_layers) +
                           ", but this model cannot be divided: " + why;
}

/// Median seconds of reading what a user would wait for: one token, or a text for embeddings.
inline Result<double> time_runner(Runner& runner, const Config& config) {
  constexpr std::size_t kText = 64;
  const std::size_t count = config.bidirectional ? (std::min)(kText, runner.max_batch()) : 1;
  const std::vector<TokenId> ids(count, 0);
  Outputs outputs;
  if (config.bidirectional) {
    outputs.hidden = [](std::size_t, Span<const float>) {};
  } else {
    outputs.logit_rows = 1;
    outputs.top = 1;
    outputs.logits = [](std::size_t, Span<float>) {};
    outputs.best = [](std::size_t, TokenId, float) {};
  }
  std::array<double, 4> seconds{};  // the first is for warming up
  for (double& s : seconds) {
    const auto start = std::chrono::steady_clock::now();
    GEMMA_TRY(runner.forward(ids, outputs));
    s = seconds_since(start);
    runner.reset();
  }
  std::sort(seconds.begin() + 1, seconds.end());
  return seconds[2];
}

inline std::string milliseconds(double seconds) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.2f ms", seconds * 1e3);
  return text;
}

/// What a user can do who wants OpenCL all the same.
inline std::string opencl_remedy(const OpenClChoice& choice) {
  if (choice.devices.empty()) {
    return "install the OpenCL driver of your GPU (GEMMA_OPENCL_LIBRARY may name its library), or "
           "choose the CPU";
  }
  switch (choice.devices.front().verdict) {
    case Verdict::denied:
    case Verdict::not_allowed: return "change the list of devices, or choose the CPU";
    case Verdict::not_a_gpu: return "set GEMMA_OPENCL_ALLOW_CPU=1 to allow it, or choose the CPU";
    case Verdict::too_little_memory:
    case Verdict::out_of_memory:
      return "choose fewer gpu_layers, a smaller context or model, or the CPU";
    default: return "choose the CPU, or try a newer driver";
  }
}

/// A runner on a device.
struct StartedDevice {
  std::unique_ptr<Runner> runner;
  std::string name;
  std::string reason;    ///< why this device
  double seconds = 0.0;  ///< see time_runner(); 0: not timed
};

/// Starts the best device that can be started. With Backend::automatic an error is just the reason.
inline Result<StartedDevice> start_device(const Model& model, const CpuOptions& cpu,
                                          const OpenClOptions& options, Backend backend,
                                          OpenClChoice& choice) {
  const Config& config = model.config();
  OpenClRunnerOptions device_options = opencl_options(cpu, options);
  const auto start = [&](const DeviceReport& report) -> Result<StartedDevice> {
    const opencl::Device& device = report.device;
    device_options.layers = report.layers.value_or(config.layers.size());
    Sentinel sentinel(options.cache_folder, device);
    sentinel.arm();
    StartedDevice started;
    GEMMA_TRY_ASSIGN(started.runner,
                     create_opencl_runner(config, model.weights(), device, device_options));
    if (backend == Backend::automatic && options.time_it) {
      GEMMA_TRY_ASSIGN(started.seconds, time_runner(*started.runner, config));
    }
    started.name = device.name;
    return started;
  };
  choice.reason = why_no_layers(config, options);
  if (choice.reason.empty()) {
    choice = choose_opencl_device(options, device_needs(model, device_options));
  } else if (backend == Backend::opencl) {
    return opencl_refused(choice.reason, "choose other gpu_layers, or the CPU");
  }
  while (choice.chosen >= 0) {
    Result<StartedDevice> started =
        start(choice.devices[static_cast<std::size_t>(choice.chosen)]);
    if (started) {
      started->reason = choice.reason;
      return started;
    }
    choose_next_opencl_device(choice, started.error());
  }
  if (backend == Backend::automatic) return Error(ErrorCode::backend, choice.reason);
  return opencl_refused(choice.reason, opencl_remedy(choice));
}

/// A device, with the CPU to go on with if it fails. With Backend::automatic the CPU at once, if
/// that is faster or there is no device.
inline Result<ChosenRunner> choose_device(const Model& model, const SessionOptions& options) {
  const CpuOptions cpu_like = cpu_options(model, options);
  const auto make_cpu = [model, cpu_like] {
    return create_cpu_runner(model.config(), model.weights(), cpu_like);
  };
  OpenClChoice choice;
  Result<StartedDevice> device = start_device(
      model, cpu_like, with_environment(options.opencl), options.backend, choice);
  if (!device) {
    if (options.backend == Backend::opencl) return device.take_error();
    GEMMA_TRY_ASSIGN(std::unique_ptr<Runner> cpu, make_cpu());
    return ChosenRunner{std::move(cpu), device.error().message(), std::move(choice.devices)};
  }
  std::string reason =
      (options.backend == Backend::opencl ? "asked for; " : "") + device->reason;
  // A CPU without memory for the model is no rival.
  Result<std::unique_ptr<Runner>> cpu = std::unique_ptr<Runner>();
  if (device->seconds > 0.0) cpu = make_cpu();
  if (cpu && *cpu != nullptr) {
    GEMMA_TRY_ASSIGN(const double seconds, time_runner(**cpu, model.config()));
    const std::string per = model.config().bidirectional ? " per text" : " per token";
    const std::string on_device = device->name + " takes " + milliseconds(device->seconds) + per;
    const std::string on_cpu = "the CPU " + milliseconds(seconds);
    reason = on_device + ", " + on_cpu;
    if (seconds < device->seconds) {
      DeviceReport& slower = choice.devices[static_cast<std::size_t>(choice.chosen)];
      slower.verdict = Verdict::too_slow;
      slower.reason = "it takes " + milliseconds(device->seconds) + per + ", " + on_cpu;
      return ChosenRunner{*std::move(cpu), std::move(reason), std::move(choice.devices)};
    }
  }
  return ChosenRunner{std::make_unique<FallbackRunner>(std::move(device->runner), make_cpu,
                                                       options.log),
                      std::move(reason), std::move(choice.devices)};
}
#endif

inline Result<ChosenRunner> choose_runner(const Model& model, const SessionOptions& options) {
  std::string reason = "asked for";
  const bool adapters = !options.adapters.empty();
  if (adapters && options.backend == Backend::opencl) return opencl_without_adapters();
  if (adapters && options.backend == Backend::automatic) {
    reason = "adapters are applied on the CPU only";
  } else if (options.backend != Backend::cpu && model.max_resident_bytes() != 0) {
    reason = "max_resident_bytes is set, and only the CPU reads weights from the file as it goes";
    if (options.backend == Backend::opencl) {
      return opencl_refused(reason, "load the model without it, or choose the CPU");
    }
  } else if (options.backend != Backend::cpu) {
#if defined(GEMMA_OPENCL)
    GEMMA_TRY_ASSIGN(ChosenRunner chosen, choose_device(model, options));
    if (options.log) {
      options.log(LogLevel::info,
                  "backend: " + chosen.runner->description() + " (" + chosen.reason + ")");
    }
    return chosen;
#else
    reason = "this program was built without OpenCL (GEMMA_OPENCL is off)";
    if (options.backend == Backend::opencl) {
      return opencl_refused(reason, "rebuild with -DGEMMA_OPENCL or choose the CPU");
    }
#endif
  }
  GEMMA_TRY_ASSIGN(
      std::unique_ptr<Runner> cpu,
      create_cpu_runner(model.config(), model.weights(), cpu_options(model, options)));
  ChosenRunner chosen;
  chosen.runner = std::move(cpu);
  chosen.reason = std::move(reason);
  return chosen;
}

}  // namespace detail
GEMMA_NAMESPACE_END

#endif  // GEMMA_GENERATE_IMPL_CHOOSE_RUNNER_INL_HPP_
