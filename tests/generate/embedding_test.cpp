// Embeddings against those of the original implementation (tests/data/make_embedding_golden.py and
// make_embedding_gemma.py).
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "float_weights.hpp"
#include "formats/safetensors_builder.hpp"
#include "gemma/backend/cpu.hpp"
#include "gemma/formats/gguf.hpp"
#include "gemma/generate/huggingface.hpp"
#include "gemma/generate/quantize.hpp"
#include "gemma/generate/session.hpp"
#include "gemma/model/reference.hpp"
#include "golden.hpp"
#include "temp_folder.hpp"

namespace {

using gemma::EmbedOptions;
using gemma::Pooling;
using gemma::Session;
using gemma::SessionOptions;
using gemma::Span;
using gemma::TokenId;
using Vector = std::vector<float>;

/// The golden vectors of a model, {"mean": [D], "last": [D]}.
nlohmann::json golden_vectors(const Golden& golden) {
  std::ifstream file(data_path("golden/embeddings.json"));
  return nlohmann::json::parse(file).at(golden.name + "/" + golden.kind);
}

Vector normalised(Vector v) {
  double squares = 0.0;
  for (const float x : v) squares += double{x} * double{x};
  for (float& x : v) x = static_cast<float>(double{x} / std::sqrt(squares));
  return v;
}

double largest_difference(const Vector& a, const Vector& b) {
  REQUIRE(a.size() == b.size());
  double largest = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    largest = (std::max)(largest, std::abs(double{a[i]} - double{b[i]}));
  }
  return largest;
}

Session make_session(const Golden& golden, std::size_t batch) {
  SessionOptions options;
  options.context = 128;
  options.batch = batch;
  options.threads = 2;
  return Session(golden.model, options);
}

Vector embed(Session& session, const Golden& golden, Pooling pooling, bool normalise) {
  EmbedOptions options;
  options.pooling = pooling;
  options.normalise = normalise;
  return session.try_embed(Span<const TokenId>(golden.input_ids), options).value();
}

/// What the original implementation gives for golden/embedding-gemma.gguf.
nlohmann::json embedding_gemma_golden() {
  std::ifstream file(data_path("golden/embedding_gemma.json"));
  return nlohmann::json::parse(file);
}

gemma::Model embedding_gemma() { return gemma::load(data_path("golden/embedding-gemma.gguf")); }

Vector embed_ids(const gemma::Model& model, const std::vector<TokenId>& ids) {
  SessionOptions options;
  options.kv_type = gemma::simd::KvType::f32;
  options.batch = 7;  // whatever it is, the text is read in one go
  Session session(model, options);
  return session.try_embed(Span<const TokenId>(ids)).value();
}

/// The folder of sentence-transformers that embedding-gemma.gguf could have been made of.
void write_embedding_gemma_folder(const TempFolder& folder) {
  const gemma::gguf::File file =
      gemma::gguf::File::open(data_path("golden/embedding-gemma.gguf")).value();
  SafetensorsBuilder model;
  for (const gemma::TensorView& tensor : file.tensors()) {
    std::vector<float> numbers(static_cast<std::size_t>(tensor.elements()));
    gemma::quant::decode_row(tensor.type, tensor.data.data(), numbers.size(), numbers.data());
    const bool norm = tensor.name.find("_norm") != std::string::npos;
    for (float& x : numbers) x -= norm ? 1.0f : 0.0f;
    std::vector<std::uint64_t> shape(tensor.shape.rbegin(), tensor.shape.rend());
    if (tensor.name.compare(0, 6, "dense_") == 0) {
      const std::string name = tensor.name.substr(6, 1) + "_Dense";
      SafetensorsBuilder dense;
      dense.add("linear.weight", shape, numbers, "F32");
      std::filesystem::create_directory(folder.path(name));
      folder.write(name + "/model.safetensors", dense.bytes());
      folder.write(name + "/config.json",
                   R"({"bias": false, "activation_function": "torch.nn.modules.linear.Identity"})");
      continue;
    }
    model.add(gemma::huggingface::tensor_name(tensor.name, gemma::Family::gemma3), shape, numbers,
              "F32");
  }
  folder.write("model.safetensors", model.bytes());
  folder.write("config.json", R"({"model_type": "gemma3_text", "vocab_size": 512,
    "hidden_size": 64, "intermediate_size": 32, "num_hidden_layers": 6, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 8,
    "max_position_embeddings": 2048, "use_bidirectional_attention": true})");
  folder.write("modules.json", R"([
    {"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "path": "2_Dense", "type": "sentence_transformers.models.Dense"},
    {"idx": 3, "path": "3_Dense", "type": "sentence_transformers.models.Dense"}])");
  folder.write("tokenizer_config.json", R"({"add_bos_token": true, "add_eos_token": true})");
  for (const char* name : {"tokenizer.model", "tokenizer.json"}) {
    folder.write(name, file_text(data_path(std::string("golden/gemma1_mqa/hf/") + name)));
  }
}

}  // namespace

TEST_CASE("EmbeddingGemma sees both ways: its embedding is the golden one") {
  const nlohmann::json want = embedding_gemma_golden();
  const auto ids = want["input_ids"].get<std::vector<TokenId>>();
  const gemma::Model model = embedding_gemma();
  CHECK(largest_difference(embed_ids(model, ids), want["embedding"].get<Vector>()) <= 1e-5);

  gemma::reference::Model reference(model.config(), model.weights());
  const auto hidden = reference.hidden(ids);
  Vector mean(hidden.cols);
  for (std::size_t t = 0; t < hidden.rows; ++t) {
    for (std::size_t i = 0; i < hidden.cols; ++i) {
      mean[i] += hidden.row(t)[i] / static_cast<float>(hidden.rows);
    }
  }
  CHECK(largest_difference(mean, want["mean"].get<Vector>()) <= 1e-5);
}

TEST_CASE("EmbeddingGemma from the folder of sentence-transformers, and as GGUF made of that") {
  const TempFolder folder;
  write_embedding_gemma_folder(folder);
  const nlohmann::json want = embedding_gemma_golden();
  const auto ids = want["input_ids"].get<std::vector<TokenId>>();
  const gemma::Model model = gemma::load(folder.path());
  CHECK(model.weights().dense.size() == 2);
  CHECK(model.tokenizer().add_eos());
  CHECK(largest_difference(embed_ids(model, ids), want["embedding"].get<Vector>()) <= 1e-5);

  const TempFolder out;
  REQUIRE(gemma::quantize(model, *gemma::find_quantize_scheme("f32"), out.path("out.gguf")).ok());
  const gemma::Model made = gemma::load(out.path("out.gguf"));
  CHECK(made.config().bidirectional);
  CHECK(made.tokenizer().add_eos());
  CHECK(largest_difference(embed_ids(made, ids), want["embedding"].get<Vector>()) <= 1e-5);

  folder.write("2_Dense/config.json", R"({"bias": true})");
  CHECK(gemma::try_load(folder.path()).error().message().find("'bias' is true") !=
        std::string::npos);
  folder.write("modules.json", R"([{"path": "../2_Dense", "type": "x.Dense"}])");
  CHECK(gemma::try_load(folder.path()).error().message().find("no name of a folder") !=
        std::string::npos);
}

TEST_CASE("dense modules that are not numbers are an error") {
  const TempFolder folder;
  std::string bytes = file_text(data_path("golden/embedding-gemma.gguf"));
  const gemma::gguf::File file =
      gemma::gguf::File::open(data_path("golden/embedding-gemma.gguf")).value();
  const float nan = std::nanf("");
  const gemma::TensorView& dense = *file.find_tensor("dense_3.weight");
  std::memcpy(&bytes[static_cast<std::size_t>(dense.data.data() - file.bytes().data())], &nan,
              sizeof nan);
  folder.write("damaged.gguf", bytes);
  Session session(gemma::load(folder.path("damaged.gguf")));
  const auto embedding = session.try_embed("hello");
  REQUIRE_FALSE(embedding.ok());
  CHECK(embedding.error().message().find("not numbers") != std::string::npos);
}

TEST_CASE("a model for embeddings refuses to continue texts, and embeds them from BOS to EOS") {
  const gemma::Model model = embedding_gemma();
  Session session(model);
  const auto result = session.try_generate("hello");
  REQUIRE_FALSE(result.ok());
  CHECK(result.error().message().find("makes embeddings") != std::string::npos);
  const std::vector<TokenId> bos = {2};
  CHECK_FALSE(session.try_logits(bos).ok());
  gemma::EncodeOptions encode;
  encode.bos = true;
  std::vector<TokenId> ids = model.tokenizer().encode("hello", encode);
  ids.push_back(1);
  const Vector by_ids = session.try_embed(Span<const TokenId>(ids)).value();
  CHECK(session.try_embed("hello").value() == by_ids);
  CHECK(session.try_embed("hello").value() == by_ids);  // nothing is left of the text before
}

TEST_CASE("the embeddings of float32 models are the golden ones, whatever the batch") {
  for (const std::string& name : kGoldenF32) {
    const Golden golden = Golden::load(name, "f32");
    CAPTURE(name);
    const nlohmann::json want = golden_vectors(golden);
    for (const std::size_t batch : {48u, 7u, 1u}) {
      CAPTURE(batch);
      Session session = make_session(golden, batch);
      for (const Pooling pooling : {Pooling::mean, Pooling::last_token}) {
        const Vector wanted = want[pooling == Pooling::mean ? "mean" : "last"].get<Vector>();
        CHECK(largest_difference(embed(session, golden, pooling, false), wanted) <= 1e-4);
        CHECK(largest_difference(embed(session, golden, pooling, true), normalised(wanted)) <=
              1e-5);
      }
    }
  }
}

TEST_CASE("hidden states of every family are the golden ones when the weights are floats") {
  for (const char* name : {"gemma3_base", "gemma2_swa", "gemma3n", "gemma4_e", "gemma4_moe"}) {
    const Golden golden = Golden::load(name, "q8_0");
    CAPTURE(name);
    const FloatWeights weights(golden.model.weights());
    gemma::CpuOptions options;
    options.context = 128;
    options.threads = 2;
    options.kv_type = gemma::simd::KvType::f32;
    const auto runner =
        gemma::create_cpu_runner(golden.model.config(), weights.weights(), options).value();
    const std::size_t tokens = golden.input_ids.size();
    std::vector<double> sum(golden.model.config().width);
    Vector last;
    gemma::Outputs outputs;
    outputs.hidden = [&](std::size_t, Span<const float> hidden) {
      for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += double{hidden[i]};
      last.assign(hidden.begin(), hidden.end());
    };
    REQUIRE(runner->forward(Span<const TokenId>(golden.input_ids), outputs).ok());
    Vector mean;
    for (const double s : sum) mean.push_back(static_cast<float>(s / static_cast<double>(tokens)));
    const nlohmann::json want = golden_vectors(golden);
    CHECK(largest_difference(mean, want["mean"].get<Vector>()) <= 1e-4);
    CHECK(largest_difference(last, want["last"].get<Vector>()) <= 1e-4);
  }
}

TEST_CASE("the embeddings of quantised models are close to the golden ones") {
  for (const char* name : {"gemma3_base", "gemma2_swa", "gemma3n", "gemma4_e", "gemma4_moe"}) {
    const Golden golden = Golden::load(name, "q8_0");
    CAPTURE(name);
    const nlohmann::json want = golden_vectors(golden);
    // Small batches have activations of 15 bits, large ones of 8.
    for (const auto& [batch, tolerance] : {std::pair(8, 2e-3), std::pair(48, 2e-2)}) {
      Session session = make_session(golden, static_cast<std::size_t>(batch));
      for (const Pooling pooling : {Pooling::mean, Pooling::last_token}) {
        const Vector wanted = want[pooling == Pooling::mean ? "mean" : "last"].get<Vector>();
        const Vector got = embed(session, golden, pooling, true);
        CHECK(largest_difference(got, normalised(wanted)) <= tolerance);
      }
    }
  }
}
