// gemma info: what a file holds and needs, and what would run it.
#pragma once

#include <map>

#include "devices.hpp"
#include "gemma/model/kv_cache.hpp"
#include "gemma/quant/registry.hpp"

namespace cli {

struct InfoOptions {
  EngineOptions engine;
  bool json = false;
};

inline Json layer_json(const gemma::LayerConfig& layer) {
  return {{"head_dim", layer.head_dim},   {"kv_heads", layer.kv_heads},
          {"ffn", layer.ffn_width},       {"window", layer.window},
          {"rope_base", layer.rope_base}, {"rope_scale", layer.rope_scale},
          {"kv_layer", layer.kv_layer}};
}

/// Positions a session would have.
inline std::size_t context_of(const InfoOptions& o, const gemma::Model& model) {
  constexpr std::size_t kUsual = 4096;
  const std::size_t trained = model.config().context_length;
  if (o.engine.context > trained) {
    throw std::runtime_error(model.path() + ": a context of " + std::to_string(o.engine.context) +
                             " tokens, but the model was trained for at most " +
                             std::to_string(trained));
  }
  return o.engine.context != 0 ? o.engine.context : (std::min)(trained, kUsual);
}

/// Which backend would be chosen, found out without taking the memory for it.
inline Json chosen_backend(const EngineOptions& engine, const gemma::Model& model) {
  gemma::SessionOptions options = engine.session_options();
#if defined(GEMMA_OPENCL)
  if (options.backend != gemma::Backend::cpu) {
    const gemma::OpenClChoice choice = gemma::choose_opencl_device(model, options);
    if (choice.chosen < 0 && options.backend == gemma::Backend::opencl) {
      throw std::runtime_error("the OpenCL backend cannot be used: " + choice.reason);
    }
    return backend_json(choice);
  }
#endif
  options.context = 1;
  const gemma::Session session(model, options);
  return {{"default", session.backend()}, {"reason", session.backend_reason()}};
}

inline Json info_json(const InfoOptions& o, const gemma::Model& model) {
  const gemma::Config& c = model.config();
  const std::size_t context = context_of(o, model);
  std::map<std::string, std::pair<std::size_t, std::uint64_t>> formats;
  for (const gemma::TensorView& tensor : model.source().tensors()) {
    auto& [count, bytes] = formats[gemma::quant::dtype_name(tensor.type)];
    ++count;
    bytes += tensor.data.size();
  }
  Json tensors = Json::object();
  for (const auto& [name, sizes] : formats) {
    tensors[name] = {{"tensors", sizes.first}, {"bytes", sizes.second}};
  }
  Json layers = Json::array();
  for (const gemma::LayerConfig& layer : c.layers) layers.push_back(layer_json(layer));
  Json memory = Json::object();
  for (const gemma::simd::KvType type : kKvTypes) {
    if (!gemma::KvCache::check_type(c, type)) continue;
    gemma::SessionOptions options = o.engine.session_options();
    options.kv_type = type;
    memory[gemma::simd::kv_type_name(type)] = memory_json(model.plan(options).cpu);
  }
#if defined(GEMMA_OPENCL)
  if (o.engine.backend != "cpu") {
    memory["opencl"] = memory_json(model.plan(o.engine.session_options()).opencl);
  }
#endif
  const Json backend = chosen_backend(o.engine, model);
  const gemma::Tokenizer& t = model.tokenizer();
  Json tokenizer = {{"kind", t.kind() == gemma::TokenizerKind::merges ? "ranked merges"
                                                                      : "SentencePiece BPE"},
                    {"pieces", t.vocab_size()},
                    {"add_bos", t.add_bos()},
                    {"stop_ids", model.stop_ids()}};
  if (t.bos()) tokenizer["bos"] = *t.bos();
  if (t.eos()) tokenizer["eos"] = *t.eos();
  if (t.unknown()) tokenizer["unknown"] = *t.unknown();
  return {{"file", model.path()},
          {"format", model.source().format()},
          {"family", gemma::family_name(c.family)},
          {"name", c.name},
          {"layers", c.layers.size()},
          {"width", c.width},
          {"heads", c.heads},
          {"vocabulary", c.vocab_size},
          {"context_length", c.context_length},
          {"attention_scale", c.attention_scale},
          {"attention_softcap", c.attention_softcap},
          {"final_softcap", c.final_softcap},
          {"layer", layers},
          {"tensors", tensors},
          {"tokenizer", tokenizer},
          {"chat_remark", model.chat_format_remark()},
          {"context", context},
          {"memory", memory},
          {"memory_limit", o.engine.memory_limit},
          {"memory_needed", model.plan(o.engine.session_options()).cpu.total()},
          {"backend", backend["default"]},
          {"backend_reason", backend["reason"]}};
}

/// Runs of equal layers in one line: "0-4  local 512, …".
inline void print_layers(const Json& layers) {
  for (std::size_t first = 0; first < layers.size();) {
    std::size_t last = first;
    const auto alike = [&](std::size_t i) {
      Json a = layers[first], b = layers[i];
      const bool own = a["kv_layer"] == first, other = b["kv_layer"] == i;
      a.erase("kv_layer");
      b.erase("kv_layer");
      return a == b && own == other;
    };
    while (last + 1 < layers.size() && alike(last + 1)) ++last;
    const Json& l = layers[first];
    const std::string window =
        l["window"] == 0 ? "global" : "local, window " + l["window"].dump();
    std::cout << "  layers " << first << "-" << last << ": " << window << ", head "
              << l["head_dim"] << ", KV heads " << l["kv_heads"] << ", FFN " << l["ffn"]
              << ", RoPE base " << l["rope_base"];
    if (l["rope_scale"] != 1.0) std::cout << " / " << l["rope_scale"];
    if (l["kv_layer"] != first) std::cout << ", keys shared";
    std::cout << '\n';
    first = last + 1;
  }
}

inline void print_info(const Json& i) {
  const auto text = [](const Json& value) { return value.get<std::string>(); };
  std::cout << text(i["file"]) << ": " << text(i["family"]) << ", " << text(i["format"]);
  if (!text(i["name"]).empty()) std::cout << ", \"" << text(i["name"]) << '"';
  std::cout << "\n" << i["layers"] << " layers, width " << i["width"] << ", " << i["heads"]
            << " heads, vocabulary " << i["vocabulary"] << ", trained for " << i["context_length"]
            << " positions\n";
  print_layers(i["layer"]);
  std::cout << "tensors\n";
  for (const auto& [name, sizes] : i["tensors"].items()) {
    std::cout << "  " << name << ": " << sizes["tensors"] << ", " << megabytes(sizes["bytes"])
              << '\n';
  }
  const Json& t = i["tokenizer"];
  std::cout << "tokenizer: " << text(t["kind"]) << ", " << t["pieces"] << " pieces";
  for (const char* special : {"bos", "eos", "unknown"}) {
    if (t.contains(special)) std::cout << ", " << special << ' ' << t[special];
  }
  std::cout << ", stops at " << t["stop_ids"].dump() << '\n';
  if (!text(i["chat_remark"]).empty()) std::cout << "chat: " << text(i["chat_remark"]) << '\n';
  std::cout << "memory at a context of " << i["context"] << ", by type of the KV cache\n";
  for (const auto& [name, plan] : i["memory"].items()) {
    std::cout << "  " << (name == "opencl" ? "of an OpenCL device" : name) << ": weights " << megabytes(plan["weights"]) << ", KV cache "
              << megabytes(plan["kv_cache"]) << ", scratch " << megabytes(plan["scratch"])
              << ", total " << megabytes(plan["total"]) << '\n';
  }
  if (i["memory_limit"] != 0) {
    const bool fits = i["memory_needed"] <= i["memory_limit"];
    std::cout << "memory limit: " << megabytes(i["memory_limit"]) << ", "
              << (fits ? "which suffices" : "too little, so a session would be refused") << '\n';
  }
  std::cout << "backend: " << text(i["backend"]) << ", " << text(i["backend_reason"]) << '\n';
}

/// Of an adapter: no model is needed to say it.
inline Json adapter_json(const gemma::AdapterInfo& info) {
  Json matrices = Json::array();
  for (const gemma::AdaptedMatrix& m : info.matrices) {
    matrices.push_back({{"name", m.name}, {"rows", m.rows}, {"cols", m.cols}, {"rank", m.rank}, {"scale", m.scale}});
  }
  return {{"file", info.path},
          {"format", info.format},
          {"base", info.base},
          {"rank", info.rank},
          {"alpha", info.alpha ? Json(*info.alpha) : Json()},
          {"matrices", matrices}};
}

/// Matrices of one kind, rank and scale in a line, with the layers that have them.
inline void print_adapter(const Json& i) {
  std::cout << i["file"].get<std::string>() << ": LoRA adapter, " << i["format"].get<std::string>() << ", rank "
            << i["rank"] << ", ";
  i["alpha"].is_null() ? std::cout << "no alpha" : std::cout << "alpha " << i["alpha"];
  if (i["base"] != "") std::cout << ", for " << i["base"].get<std::string>();
  std::cout << '\n';
  std::vector<std::string> order;
  std::map<std::string, std::size_t> count;
  for (const Json& m : i["matrices"]) {
    const auto name = m["name"].get<std::string>();
    const std::size_t dot = name.compare(0, 4, "blk.") == 0 ? name.find('.', 4) + 1 : 0;
    std::ostringstream line;
    line << name.substr(dot) << ' ' << m["rows"] << " x " << m["cols"] << ", rank " << m["rank"] << ", scale "
         << m["scale"];
    if (count[line.str()]++ == 0) order.push_back(line.str());
  }
  for (const std::string& line : order) {
    std::cout << "  " << line << ": " << count[line] << (count[line] == 1 ? " matrix\n" : " matrices\n");
  }
}

inline int info(const InfoOptions& o) {
  if (gemma::is_adapter(o.engine.model)) {
    const Json json = adapter_json(gemma::read_adapter_info(o.engine.model));
    o.json ? print_json(json) : print_adapter(json);
    return 0;
  }
  const gemma::Model model = load_mapped(o.engine.model);
  const Json json = info_json(o, model);
  o.json ? print_json(json) : print_info(json);
  return 0;
}

inline void add_info(CLI::App& app, Action& action) {
  CLI::App* sub = app.add_subcommand("info", "Show what a model or an adapter holds and how much it needs");
  auto o = std::make_shared<InfoOptions>();
  o->engine.add_to(*sub);
  sub->add_flag("--json", o->json, "print JSON");
  sub->footer(
      "Examples:\n"
      "  gemma info model.gguf\n"
      "  gemma info model.gguf --ctx 32768 --json\n"
      "  gemma info adapter.gguf");
  sub->callback([o, &action] { action = [o] { return info(*o); }; });
}

}  // namespace cli
