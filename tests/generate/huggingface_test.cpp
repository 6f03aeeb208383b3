#include "gemma/generate/huggingface.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "gemma/backend/cpu.hpp"
#include "gemma/model/reference.hpp"
#include "golden.hpp"
#include "huggingface_folder.hpp"

namespace {

using gemma::Model;
using gemma::Span;
using gemma::TokenId;
using nlohmann::json;

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// The message of the error when the folder is loaded; empty if there is none.
std::string error_of(const std::string& path) {
  const gemma::Result<Model> model = gemma::try_load(path);
  return model ? std::string() : model.error().message();
}

Rows reference_rows(const Model& model, const std::vector<TokenId>& ids) {
  gemma::reference::Model reference(model.config(), model.weights());
  const gemma::reference::Matrix logits = reference.forward(ids, ids.size());
  Rows rows;
  for (std::size_t r = 0; r < logits.rows; ++r) {
    rows.emplace_back(logits.row(r), logits.row(r) + logits.cols);
  }
  return rows;
}

Rows simd_rows(const Model& model, const std::vector<TokenId>& ids) {
  gemma::CpuOptions options;
  options.context = 128;
  options.kv_type = gemma::simd::KvType::f32;
  const auto runner = gemma::create_cpu_runner(model.config(), model.weights(), options).value();
  Rows rows;
  gemma::Outputs outputs;
  outputs.logit_rows = ids.size();
  outputs.logits = [&](std::size_t, Span<float> row) { rows.emplace_back(row.begin(), row.end()); };
  REQUIRE(runner->forward(ids, outputs).ok());
  return rows;
}

/// golden.json with the folder in place of the GGUF file.
Golden golden_of(const std::string& name, const std::string& kind, const std::string& path) {
  const json data = json::parse(file_text(data_path("golden/" + name + "/golden.json")));
  return {name, kind, gemma::load(path), data.at("input_ids").get<std::vector<TokenId>>(),
          data.at(kind)};
}

void check_folder(const Golden& golden) {
  check_golden(golden, reference_rows(golden.model, golden.input_ids));
  check_golden(golden, simd_rows(golden.model, golden.input_ids));
}

double largest_difference(const Rows& a, const Rows& b) {
  double largest = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    for (std::size_t v = 0; v < a[i].size(); ++v) {
      largest = (std::max)(largest, std::abs(double{a[i][v]} - double{b[i][v]}));
    }
  }
  return largest;
}

std::vector<std::string> folder_names() {
  std::vector<std::string> names;
  for (const std::string& name : kGoldenQ8) {
    if (file_exists(data_path("golden/" + name + "/hf/config.json"))) names.push_back(name);
  }
  return names;
}

}  // namespace

TEST_CASE("folders of every family give the golden logits, in both styles of config.json") {
  REQUIRE(folder_names().size() == 11);
  for (const std::string& name : folder_names()) {
    for (const char* config : {"config.json", "config.v5.json"}) {
      CAPTURE(config);
      FolderStyle style;
      style.config = config;
      if (name.compare(0, 6, "gemma4") == 0) style.tokenizer = "gemma4_e";
      if (name == "gemma1_mqa") style.tokenizer = name;
      // Some fixtures have fewer rows than gemma3_swa has pieces.
      if (style.tokenizer == "gemma3_swa" && name != "gemma3_swa") style.tokenizer = "gemma1_mqa";
      const HuggingFaceFolder folder(name, style);
      check_folder(golden_of(name, "q8_0", folder.path()));
    }
  }
}

TEST_CASE("query_pre_attn_scalar is read, which GGUF has no key for") {
  for (const char* config : {"config.json", "config.v5.json"}) {
    const TempFolder folder;
    const std::string source = data_path("golden/gemma2_qpas/hf/");
    folder.write("config.json", file_text(source + config));
    for (const char* file : {"model.safetensors", "tokenizer.model", "tokenizer.json"}) {
      folder.write(file, file_text(source + file));
    }
    check_folder(golden_of("gemma2_qpas", "f32", folder.path()));
  }
}

TEST_CASE("16-bit weights, shards and other prefixes give the same logits as one file of floats") {
  FolderStyle plain;
  plain.bf16_numbers = true;
  const std::string name = "gemma3_swa";
  const HuggingFaceFolder floats(name, plain);
  const Golden golden = golden_of(name, "q8_0", floats.path());
  const Rows want = reference_rows(golden.model, golden.input_ids);
  for (const std::string prefix : {"model.", "model.language_model.", "language_model.model.", ""}) {
    FolderStyle style = plain;
    style.type = "BF16";
    style.shards = prefix.size() % 3 + 1;
    style.prefix = prefix;
    const HuggingFaceFolder folder(name, style);
    const Model model = gemma::load(folder.path());
    CHECK(largest_difference(reference_rows(model, golden.input_ids), want) == 0.0);
    CHECK(largest_difference(simd_rows(model, golden.input_ids), want) < 1e-3);
  }
}

TEST_CASE("models that also see describe their text part apart, and leave out what is usual") {
  const HuggingFaceFolder folder("gemma3_swa");
  const Model plain = gemma::load(folder.path());
  folder.edit_config([](json& config) {
    json text = config;
    for (const char* usual : {"sliding_window_pattern", "rope_theta", "rms_norm_eps",
                              "rope_local_base_freq", "model_type", "hidden_activation"}) {
      text.erase(usual);
    }
    config = {{"model_type", "gemma3_text"}, {"text_config", text}, {"vision_config", {{"a", 1}}}};
  });
  const Model nested = gemma::load(folder.path());
  const std::vector<TokenId> ids = {2, 50, 60, 70};
  CHECK(largest_difference(reference_rows(plain, ids), reference_rows(nested, ids)) == 0.0);
}

TEST_CASE("keys that a config.json leaves out are as in transformers") {
  const auto read = [](const char* text) {
    return gemma::huggingface::read_config(json::parse(text), "config.json").value();
  };
  // gemma-3-4b's text_config says no more than this.
  const gemma::Config g3 = read(R"({"model_type": "gemma3", "text_config": {"hidden_size": 2560,
    "intermediate_size": 10240, "model_type": "gemma3_text", "num_hidden_layers": 34,
    "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024}})");
  CHECK(g3.vocab_size == 262208);
  CHECK(g3.heads == 8);
  CHECK(g3.layers.size() == 34);
  CHECK(g3.layers[0].kv_heads == 4);
  CHECK(g3.layers[0].window == 1024);
  CHECK(g3.layers[0].rope_base == 1e4f);
  CHECK(g3.layers[0].rope_scale == 1.0f);
  CHECK(g3.layers[5].window == 0);
  CHECK(g3.layers[5].rope_base == 1e6f);
  CHECK(g3.layers[5].rope_scale == 8.0f);
  CHECK(g3.attention_scale == doctest::Approx(1.0 / 16));
  CHECK(g3.final_softcap == 0.0f);
  const gemma::Config g2 = read(R"({"model_type": "gemma2"})");
  CHECK(g2.layers[0].window == 4096);
  CHECK(g2.layers[1].window == 0);
  CHECK(g2.attention_softcap == 50.0f);
  CHECK(g2.final_softcap == 30.0f);
  CHECK(read(R"({"model_type": "gemma2", "final_logit_softcapping": null})").final_softcap == 0.0f);
  const gemma::Config g1 = read(R"({"model_type": "gemma"})");
  CHECK(g1.layers.size() == 28);
  CHECK(g1.layers[0].ffn_width == 24576);
  CHECK(g1.layers[0].window == 0);
  const gemma::Config g3n = read(R"({"model_type": "gemma3n", "text_config": {}})");
  CHECK(g3n.layers.size() == 35);
  CHECK(g3n.layers[9].sparsity == doctest::Approx(1.6448536));
  CHECK(g3n.layers[10].sparsity < -1e30f);
  CHECK(g3n.layers[34].kv_layer == 19);
  CHECK(g3n.layers[33].kv_layer == 18);
  CHECK(g3n.laurel_rank == 64);
  const gemma::Config g4 = read(R"({"model_type": "gemma4_text"})");
  CHECK(g4.layers[5].head_dim == 512);
  CHECK(g4.layers[4].head_dim == 256);
  CHECK(g4.rope_divisors.size() == 256);
  CHECK(g4.rope_divisors[63] == 1.0f);
  CHECK(g4.rope_divisors[64] == 1e30f);
  CHECK(g4.attention_scale == 1.0f);
}

TEST_CASE("a config.json that makes no sense is refused with its key") {
  const auto error = [](const char* text) {
    const auto config = gemma::huggingface::read_config(json::parse(text), "config.json");
    return config ? std::string() : config.error().message();
  };
  CHECK(contains(error(R"([1])"), "config.json: holds a list, expected a JSON object"));
  CHECK(contains(error(R"({})"), "key 'model_type' is missing"));
  CHECK(contains(error(R"({"model_type": "llama"})"), "'llama', which is not one this version runs"));
  CHECK(contains(error(R"({"model_type": "gemma3", "hidden_size": "wide"})"),
                 "key 'hidden_size' is \"wide\", expected an integer"));
  CHECK(contains(error(R"({"model_type": "gemma3", "text_config": {"hidden_size": -4}})"),
                 "key 'text_config.hidden_size' is -4"));
  CHECK(contains(error(R"({"model_type": "gemma3", "num_hidden_layers": 2000000000})"),
                 "no model has that many layers"));
  CHECK(contains(error(R"({"model_type": "gemma3", "num_hidden_layers": 0})"), "is 0"));
  CHECK(contains(error(R"({"model_type": "gemma3", "layer_types": ["full_attention"]})"),
                 "key 'layer_types' is not a list of 26 layers"));
  CHECK(contains(error(R"({"model_type": "gemma3", "rope_scaling": {"rope_type": "yarn"}})"),
                 "key 'rope_scaling.rope_type' is 'yarn'"));
  CHECK(contains(error(R"({"model_type": "gemma3", "num_key_value_heads": 3})"),
                 "8 query heads cannot share 3 KV heads"));
  CHECK(contains(error(R"({"model_type": "gemma3", "attention_bias": true})"), "attention_bias"));
  CHECK(contains(error(R"({"model_type": "gemma", "hidden_act": "silu"})"), "'silu'"));
  CHECK(contains(error(R"({"model_type": "gemma3n", "num_kv_shared_layers": 35})"),
                 "key 'num_kv_shared_layers' is 35 of 35 layers"));
  CHECK(contains(error(R"({"model_type": "gemma3n", "activation_sparsity_pattern": 1.5})"),
                 "activation_sparsity_pattern"));
  CHECK(contains(error(R"({"model_type": "gemma3n", "altup_num_inputs": 1})"), "AltUp stream"));
  CHECK(contains(error(R"({"model_type": "gemma3n", "altup_num_inputs": 4000000})"), "AltUp stream"));
  CHECK(contains(error(R"({"model_type": "gemma3n", "hidden_size_per_layer_input": 0})"),
                 "the width of per-layer embeddings is 0"));
  CHECK(contains(error(R"({"model_type": "gemma3", "query_pre_attn_scalar": 1e300})"),
                 "key 'query_pre_attn_scalar' is 1e+300"));
  CHECK(contains(error(R"({"model_type": "gemma3", "use_bidirectional_attention": 1e18})"),
                 "key 'use_bidirectional_attention' is neither true nor false"));
  CHECK(contains(error(R"({"model_type": "gemma4_text", "global_head_dim": 2147483646})"),
                 "key 'global_head_dim' is 2147483646; no model has heads of that size"));
  CHECK(contains(error(R"({"model_type": "gemma4_text", "rope_parameters": {"full_attention":
                         {"rope_type": "proportional", "partial_rotary_factor": -0.5}}})"),
                 "partial_rotary_factor' is -0.5"));
}

TEST_CASE("every tensor that a folder lacks is named as the folder would name it") {
  for (const std::string name : {"gemma1_mqa", "gemma3n", "gemma4_moe"}) {
    FolderStyle style;
    style.tokenizer = name == "gemma4_moe" ? "gemma4_e" : "gemma1_mqa";
    const HuggingFaceFolder folder(name, style);
    const std::string whole = file_text(folder.files().path("model.safetensors"));
    REQUIRE(error_of(folder.path()).empty());
    const json tensors = json::parse(file_text(data_path("golden/" + name + "/hf/tensors.json")));
    std::size_t optional = 0;
    for (const auto& item : tensors.items()) {
      const std::string& tensor = item.key();
      std::string broken = whole;
      const std::size_t at = broken.find('"' + tensor + '"');
      REQUIRE(at != std::string::npos);
      broken[at + 1] = 'X';
      folder.files().write("model.safetensors", broken);
      const std::string error = error_of(folder.path());
      // The keys and values of layers that share those of others are not needed.
      const bool shared = contains(tensor, ".k_") || contains(tensor, ".v_");
      if (error.empty() && name == "gemma3n" && shared) {
        ++optional;
        continue;
      }
      if (error.empty() && contains(tensor, "correct_output_scale")) continue;
      CHECK_MESSAGE(contains(error, "tensor '" + tensor + "' is missing"), tensor, ": ", error);
    }
    CHECK(optional == (name == "gemma3n" ? 9 : 0));
  }
}

TEST_CASE("a tensor of a type that cannot be read is named with its type") {
  const HuggingFaceFolder folder("gemma3_swa");
  std::string file = file_text(folder.files().path("model.safetensors"));
  const std::size_t tensor = file.find("\"model.layers.1.mlp.up_proj.weight\"");
  const std::size_t type = file.rfind("\"F32\"", file.find("\"shape\"", tensor));
  file.replace(type, 5, "\"I32\"");
  folder.files().write("model.safetensors", file);
  CHECK(contains(error_of(folder.path()),
                 "tensor 'model.layers.1.mlp.up_proj.weight' is of type I32"));
}

TEST_CASE("missing files of a folder are named") {
  const HuggingFaceFolder folder("gemma3_swa");
  folder.files().remove("tokenizer.model");
  CHECK(error_of(folder.path()).empty());  // tokenizer.json is there
  folder.files().remove("tokenizer.json");
  CHECK(contains(error_of(folder.path()), "neither tokenizer.model nor tokenizer.json"));
  folder.files().remove("model.safetensors");
  CHECK(contains(error_of(folder.path()), "neither model.safetensors nor"));
  folder.files().remove("config.json");
  CHECK(contains(error_of(folder.path()), "holds no config.json"));
}

TEST_CASE("a head of its own is used if config.json says so, and asked for") {
  const HuggingFaceFolder folder("gemma3_swa");
  folder.edit_config([](json& config) { config["tie_word_embeddings"] = false; });
  CHECK(contains(error_of(folder.path()), "tensor 'lm_head.weight' is missing"));
}

TEST_CASE("stops, BOS and the chat template come from their files") {
  const HuggingFaceFolder folder("gemma3_swa");
  CHECK(gemma::load(folder.path()).stop_ids() == std::vector<TokenId>{1, 6});
  folder.edit_config([](json& config) { config["eos_token_id"] = {1, 9}; });
  folder.files().write("generation_config.json", R"({"eos_token_id": [1, 10], "top_k": 64})");
  const Model model = gemma::load(folder.path());
  CHECK(model.stop_ids() == std::vector<TokenId>{1, 9, 10, 6});
  CHECK(model.tokenizer().bos() == 2);
  CHECK(model.tokenizer().add_bos());
  CHECK(model.chat_format_remark().empty());
  folder.files().write("tokenizer_config.json",
                       R"({"add_bos_token": false, "chat_template": "{{ my own }}"})");
  const Model other = gemma::load(folder.path());
  CHECK(!other.tokenizer().add_bos());
  CHECK(contains(other.chat_format_remark(), "chat template is not one"));
  const char* known = "<start_of_turn>model{{ role }}<end_of_turn>";
  folder.files().write("chat_template.jinja", known);
  CHECK(gemma::load(folder.path()).chat_format_remark().empty());
  folder.files().remove("chat_template.jinja");
  folder.files().write("tokenizer_config.json", json{{"chat_template",
      {{{"name", "tool_use"}, {"template", "?"}}, {{"name", "default"}, {"template", known}}}}}.dump());
  CHECK(gemma::load(folder.path()).chat_format_remark().empty());
}

TEST_CASE("tokenizer.model and tokenizer.json split text alike") {
  for (const std::string name : {"gemma1_mqa", "gemma3_swa", "gemma4_e"}) {
    FolderStyle style;
    style.tokenizer = name;
    const HuggingFaceFolder folder(name, style);
    const json golden = json::parse(file_text(data_path("golden/" + name + "/golden.json")));
    gemma::EncodeOptions special;
    special.parse_special = true;
    for (const bool with_model : {true, false}) {
      if (!with_model) folder.files().remove("tokenizer.model");
      const Model model = gemma::load(folder.path());
      for (const json& sample : golden.at("tokenizer_samples")) {
        CHECK(model.tokenizer().encode(sample[0].get<std::string>(), special) ==
              sample[1].get<std::vector<TokenId>>());
      }
      // The GGUF file of the same model types its pieces the same way.
      const Golden file = Golden::load(name, "q8_0");
      const gemma::Tokenizer& a = model.tokenizer();
      const gemma::Tokenizer& b = file.model.tokenizer();
      REQUIRE(a.vocab_size() == b.vocab_size());
      for (TokenId id = 0; id < static_cast<TokenId>(a.vocab_size()); ++id) {
        if (name != "gemma4_e") CHECK(a.piece_type(id) == b.piece_type(id));
        CHECK(a.piece(id) == b.piece(id));
      }
    }
  }
}
