// gemma devices: what OpenCL offers on this machine, and what would be used.
#pragma once

#include "common.hpp"

namespace cli {

struct DevicesOptions {
  EngineOptions engine;
  bool start = false;
  bool json = false;
};

inline Json memory_json(const gemma::MemoryPlan& plan) {
  return {{"weights", plan.weights},
          {"kv_cache", plan.kv_cache},
          {"scratch", plan.scratch},
          {"total", plan.total()}};
}

#if defined(GEMMA_OPENCL)

inline const char* device_type(gemma::opencl::Bits type) {
  if ((type & gemma::opencl::kTypeGpu) != 0) return "GPU";
  if ((type & gemma::opencl::kTypeCpu) != 0) return "CPU";
  return (type & gemma::opencl::kTypeAccelerator) != 0 ? "accelerator" : "unknown";
}

inline Json device_json(const gemma::DeviceReport& report) {
  const gemma::opencl::Device& d = report.device;
  const Json layers = report.layers ? Json(*report.layers) : Json();
  const bool usable = report.verdict == gemma::Verdict::usable ||
                      report.verdict == gemma::Verdict::chosen ||
                      report.verdict == gemma::Verdict::too_slow;
  return {{"platform", d.platform_name},
          {"library", d.platform.library},
          {"name", d.name},
          {"vendor", d.vendor},
          {"driver", d.driver},
          {"version", d.version},
          {"type", device_type(d.type)},
          {"memory", d.global_memory},
          {"largest_allocation", d.largest_allocation},
          {"local_memory", d.local_memory},
          {"work_group_size", d.work_group_size},
          {"compute_units", d.compute_units},
          {"clock_mhz", d.clock_mhz},
          {"unified_memory", d.unified_memory},
          {"fp16", d.fp16},
          {"integer_dot", d.integer_dot},
          {"subgroups", d.subgroups},
          {"usable", usable},
          {"layers", layers},
          {"verdict", gemma::verdict_name(report.verdict)},
          {"reason", report.reason}};
}

/// What Backend::automatic would do, found out without starting a device.
inline Json backend_json(const gemma::OpenClChoice& choice) {
  if (choice.chosen < 0) return {{"default", "cpu"}, {"reason", choice.reason}};
  const std::string& name = choice.devices[static_cast<std::size_t>(choice.chosen)].device.name;
  return {{"default", "opencl: " + name},
          {"reason", choice.reason + "; its kernels are tested, and compared with the CPU's, "
                                     "when a model is run"}};
}

inline Json devices_json(const DevicesOptions& o) {
  Json json = {{"devices", Json::array()}};
  Json backend;
  gemma::OpenClChoice choice;
  if (o.engine.model.empty()) {
    choice = gemma::choose_opencl_device(gemma::with_environment({}), {});
  } else {
    const gemma::Model model = load_mapped(o.engine.model);
    const gemma::SessionOptions options = o.engine.session_options();
    choice = gemma::choose_opencl_device(model, options);
    json["needed"] = memory_json(gemma::plan_opencl_memory(model, options));
    if (o.start) {
      const gemma::Session session(model, options);
      choice.devices = session.devices();
      backend = {{"default", session.backend()}, {"reason", session.backend_reason()}};
    }
  }
  if (backend.is_null()) backend = backend_json(choice);
  for (const gemma::DeviceReport& report : choice.devices) {
    json["devices"].push_back(device_json(report));
  }
  json["remarks"] = choice.remarks;
  json.update(backend);
  return json;
}

#else

inline Json devices_json(const DevicesOptions&) {
  return {{"devices", Json::array()},
          {"default", "cpu"},
          {"reason", "this program was built without OpenCL (GEMMA_OPENCL is off)"}};
}

#endif

inline std::string megabytes(const Json& bytes) {
  return gemma::megabytes(bytes.get<std::uint64_t>());
}

/// ", fp16, sub-groups": what a device can do that not all can.
inline std::string extras(const Json& device) {
  std::string text;
  const std::pair<const char*, const char*> names[] = {{"fp16", "fp16"},
                                                       {"integer_dot", "integer dot product"},
                                                       {"subgroups", "sub-groups"},
                                                       {"unified_memory", "the CPU's memory"}};
  for (const auto& [key, name] : names) {
    if (device[key].get<bool>()) text += std::string(", ") + name;
  }
  return text;
}

inline void print_devices(const Json& json) {
  const auto text = [](const Json& value) { return value.get<std::string>(); };
  for (const Json& d : json["devices"]) {
    std::cout << text(d["name"]) << ": " << text(d["type"]) << " of " << text(d["vendor"]) << ", "
              << d["compute_units"] << " compute units, " << d["clock_mhz"] << " MHz, "
              << megabytes(d["memory"]) << " (" << megabytes(d["largest_allocation"])
              << " in one piece)" << extras(d) << "\n  " << text(d["platform"]) << ", "
              << text(d["version"]) << ", driver " << text(d["driver"]) << ", found by "
              << text(d["library"]) << "\n  " << (d["usable"] ? "usable" : "not usable")
              << " (" << text(d["verdict"]) << "): " << text(d["reason"]) << '\n';
  }
  if (json["devices"].empty()) std::cout << "no OpenCL devices\n";
  if (json.contains("remarks")) {
    for (const Json& remark : json["remarks"]) std::cout << text(remark) << '\n';
  }
  if (json.contains("needed")) {
    const Json& needed = json["needed"];
    std::cout << "needed of a device's memory: " << megabytes(needed["total"]) << " (weights "
              << megabytes(needed["weights"]) << ", KV cache " << megabytes(needed["kv_cache"])
              << ", activations " << megabytes(needed["scratch"]) << ")\n";
  }
  std::cout << "default: " << text(json["default"]) << ", " << text(json["reason"])
            << "\nthe CPU's SIMD: " << gemma::simd::kernels().target << '\n';
}

inline int devices(const DevicesOptions& o) {
  const Json json = devices_json(o);
  o.json ? print_json(json) : print_devices(json);
  return 0;
}

inline void add_devices(CLI::App& app, Action& action) {
  CLI::App* sub = app.add_subcommand("devices", "List the devices that could run a model");
  auto o = std::make_shared<DevicesOptions>();
  CLI::Option* model = sub->add_option("--model", o->engine.model,
                                       "also find out whether a device has the memory for this");
  sub->add_option("--ctx", o->engine.context, "with so many positions; 0: the model's, at most 4096")
      ->capture_default_str()->check(whole_number())->needs(model);
  o->engine.add_gpu_layers(*sub)->needs(model);
  sub->add_flag("--start", o->start,
                "start them, as running the model does: test their kernels, compare them with the CPU")
      ->needs(model);
  sub->add_flag("--json", o->json, "print JSON");
  sub->footer(
      "Builds with GEMMA_OPENCL heed these variables of the environment:\n"
      "  GEMMA_OPENCL_LIBRARY    the OpenCL loader or driver to use\n"
      "  GEMMA_OPENCL_DEVICES    parts of names: nvidia,-intel allows the one, denies the other\n"
      "  GEMMA_OPENCL_ALLOW_CPU  1: devices that are no GPU, too\n"
      "  GEMMA_OPENCL_CACHE      folder of compiled kernels\n"
      "Examples:\n"
      "  gemma devices --json\n"
      "  gemma devices --model model.gguf --ctx 32768 --start");
  sub->callback([o, &action] { action = [o] { return devices(*o); }; });
}

}  // namespace cli
