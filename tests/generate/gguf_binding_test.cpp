#include "gemma/generate/gguf_binding.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "formats/gguf_builder.hpp"

namespace {

using gemma::Config;
using gemma::gguf::ValueType;

/// A complete two-layer model whose keys and tensor shapes a test may change or remove.
struct TinyFile {
  std::string architecture = "gemma3";
  std::map<std::string, std::uint32_t> keys = {
      {"embedding_length", 32},        {"block_count", 2},          {"feed_forward_length", 64},
      {"attention.head_count", 2},     {"attention.head_count_kv", 1},
      {"attention.key_length", 16},    {"attention.value_length", 16},
      {"context_length", 128},         {"attention.sliding_window", 8},
      {"attention.sliding_window_pattern", 2}};
  std::map<std::string, std::vector<std::uint64_t>> shapes = {{"token_embd.weight", {32, 20}},
                                                              {"output_norm.weight", {32}}};
  std::function<void(GgufBuilder&)> more;
  float norm_value = 1.0f;

  TinyFile() {
    for (const char* layer : {"blk.0.", "blk.1."}) {
      const std::string block = layer;
      for (const char* norm : {"attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"}) {
        shapes[block + norm + ".weight"] = {32};
      }
      shapes[block + "attn_q_norm.weight"] = {16};
      shapes[block + "attn_k_norm.weight"] = {16};
      shapes[block + "attn_q.weight"] = {32, 32};
      shapes[block + "attn_k.weight"] = {32, 16};
      shapes[block + "attn_v.weight"] = {32, 16};
      shapes[block + "attn_output.weight"] = {32, 32};
      shapes[block + "ffn_gate.weight"] = {32, 64};
      shapes[block + "ffn_up.weight"] = {32, 64};
      shapes[block + "ffn_down.weight"] = {64, 32};
    }
  }

  std::vector<std::uint8_t> build() const {
    GgufBuilder builder;
    builder.text("general.architecture", architecture);
    for (const auto& [key, value] : keys) builder.u32(architecture + "." + key, value);
    if (more) more(builder);
    for (const auto& [name, shape] : shapes) {
      std::size_t count = 1;
      for (const std::uint64_t n : shape) count *= static_cast<std::size_t>(n);
      const std::vector<float> values(count, shape.size() == 1 ? norm_value : 0.5f);
      std::vector<std::uint8_t> data(count * sizeof(float));
      std::memcpy(data.data(), values.data(), data.size());
      builder.tensor(name, gemma::DType::F32, shape, data);
    }
    return builder.build();
  }

  Config config() const {
    const std::vector<std::uint8_t> bytes = build();
    const gemma::gguf::File file = gemma::gguf::File::from_bytes(bytes, "tiny").value();
    return gemma::gguf::read_config(file).value();
  }

  /// The message of the first error, empty if there is none.
  std::string error() const {
    const std::vector<std::uint8_t> bytes = build();
    const gemma::gguf::File file = gemma::gguf::File::from_bytes(bytes, "tiny").value();
    const gemma::Result<Config> config_read = gemma::gguf::read_config(file);
    if (!config_read) return config_read.error().message();
    const auto weights = gemma::bind_weights(gemma::gguf::FileTensors(file), *config_read);
    return weights ? std::string() : weights.error().message();
  }
};

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a complete file binds, with local and global layers told apart") {
  TinyFile tiny;
  CHECK(tiny.error().empty());
  const Config config = tiny.config();
  CHECK(config.vocab_size == 20);
  CHECK(config.layers[0].window == 8);
  CHECK(config.layers[0].rope_base == 10000.0f);
  CHECK(config.layers[1].window == 0);
  CHECK(config.layers[1].rope_base == 1000000.0f);
  CHECK(config.attention_scale == doctest::Approx(0.25));
}

TEST_CASE("linear rope scaling is for the global layers only") {
  TinyFile tiny;
  tiny.more = [](GgufBuilder& b) {
    b.text("gemma3.rope.scaling.type", "linear");
    b.number("gemma3.rope.scaling.factor", ValueType::f32, 8.0f);
  };
  CHECK(tiny.config().layers[0].rope_scale == 1.0f);
  CHECK(tiny.config().layers[1].rope_scale == 8.0f);
  tiny.more = [](GgufBuilder& b) { b.text("gemma3.rope.scaling.type", "yarn"); };
  CHECK(contains(tiny.error(), "'gemma3.rope.scaling.type' is 'yarn'"));
}

TEST_CASE("the window pattern may be a list of booleans") {
  TinyFile tiny;
  tiny.keys.erase("attention.sliding_window_pattern");
  tiny.more = [](GgufBuilder& b) {
    b.numbers("gemma3.attention.sliding_window_pattern", ValueType::boolean,
              std::vector<std::uint8_t>{0, 1});
  };
  CHECK(tiny.config().layers[0].window == 0);
  CHECK(tiny.config().layers[1].window == 8);
  tiny.more = [](GgufBuilder& b) {
    b.numbers("gemma3.attention.sliding_window_pattern", ValueType::boolean,
              std::vector<std::uint8_t>{0, 1, 1});
  };
  CHECK(contains(tiny.error(), "holds 3 flags for 2 layers"));
}

TEST_CASE("an unknown architecture is named, with those that are known") {
  TinyFile tiny;
  tiny.architecture = "llama";
  CHECK(contains(tiny.error(), "tiny: the architecture 'llama'"));
  CHECK(contains(tiny.error(), "gemma3"));
}

TEST_CASE("a missing key is named") {
  for (const char* key : {"embedding_length", "block_count", "attention.head_count",
                          "context_length", "feed_forward_length"}) {
    TinyFile tiny;
    tiny.keys.erase(key);
    CAPTURE(key);
    CHECK(contains(tiny.error(), "'gemma3." + std::string(key) + "'"));
    CHECK(contains(tiny.error(), "missing"));
  }
}

TEST_CASE("sizes that make no sense are refused before anything is allocated") {
  const auto error = [](const char* key, std::uint32_t value) {
    TinyFile tiny;
    tiny.keys[key] = value;
    return tiny.error();
  };
  CHECK(contains(error("block_count", 4000000000u), "no size of a model is that large"));
  CHECK(contains(error("block_count", 100000), "no model has that many layers"));
  CHECK(contains(error("block_count", 0), "no layers"));
  CHECK(contains(error("embedding_length", 0), "embedding length is 0"));
  CHECK(contains(error("attention.head_count", 0), "heads is 0"));
  CHECK(contains(error("attention.head_count_kv", 3), "2 query heads cannot share 3 KV heads"));
  CHECK(contains(error("attention.key_length", 15), "attention.value_length"));
  CHECK(contains(error("feed_forward_length", 0), "feed-forward length is 0"));
  CHECK(contains(error("context_length", 0), "context length is 0"));
  CHECK(contains(error("embedding_length", 64), "has shape [32"));
}

TEST_CASE("a missing tensor is named") {
  TinyFile tiny;
  for (const auto& entry : TinyFile().shapes) {
    const std::string& name = entry.first;
    tiny.shapes = TinyFile().shapes;
    tiny.shapes.erase(name);
    CAPTURE(name);
    CHECK(contains(tiny.error(), "tensor '" + name + "' is missing"));
  }
}

TEST_CASE("a tensor of the wrong shape is named with both shapes") {
  TinyFile tiny;
  tiny.shapes["blk.1.ffn_down.weight"] = {64, 31};
  CHECK(contains(tiny.error(), "tensor 'blk.1.ffn_down.weight' has shape [64, 31], "
                               "expected [64, 32]"));
}

TEST_CASE("norm weights that are not numbers are refused") {
  TinyFile tiny;
  tiny.norm_value = std::numeric_limits<float>::quiet_NaN();
  CHECK(contains(tiny.error(), "holds a value that is not a number"));
}

TEST_CASE("Q, K and V may come as one tensor") {
  TinyFile tiny;
  for (const char* part : {"q", "k", "v"}) {
    tiny.shapes.erase("blk.0.attn_" + std::string(part) + ".weight");
  }
  tiny.shapes["blk.0.attn_qkv.weight"] = {32, 64};
  const std::vector<std::uint8_t> bytes = tiny.build();
  const auto file = gemma::gguf::File::from_bytes(bytes, "tiny").value();
  const Config config = gemma::gguf::read_config(file).value();
  const auto weights = gemma::bind_weights(gemma::gguf::FileTensors(file), config).value();
  CHECK(weights.layers[0].q.rows == 32);
  CHECK(weights.layers[0].k.rows == 16);
  CHECK(weights.layers[0].v.data == weights.layers[0].q.row(48));
}
