// Adapters: what a session with them computes is what the model computes with the same numbers merged into
// its weights, for every format, family and number of tokens.
#include "gemma/generate/adapter.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "gemma/backend/cpu.hpp"
#include "gemma/generate/impl/mediapipe_tiles-inl.hpp"
#include "gemma/generate/session.hpp"
#include "gemma/model/reference.hpp"
#include "generate/lora.hpp"
#include "golden.hpp"
#include "huggingface_folder.hpp"

using namespace gemma;

namespace {

const std::vector<TokenId> kText = {2, 10, 200, 31, 47, 5, 300, 77, 12, 400, 9, 88, 111, 204, 3, 66,
                                    51, 19, 480, 7, 35, 260, 14, 99};

/// A model with float32 weights, and the folder that they lie in.
struct FloatModel {
  explicit FloatModel(const std::string& name) : folder(name, style_of(name)), model(load(folder.path())) {}
  static FolderStyle style_of(const std::string& name) {
    FolderStyle style;
    if (name.compare(0, 6, "gemma4") == 0) style.tokenizer = "gemma4_e";
    if (style.tokenizer == "gemma3_swa" && name != "gemma3_swa") style.tokenizer = "gemma1_mqa";
    return style;
  }
  HuggingFaceFolder folder;
  Model model;
};

SessionOptions options_with(std::vector<SessionAdapter> adapters, std::size_t threads = 2) {
  SessionOptions options;
  options.context = 64;
  options.threads = threads;
  options.kv_type = simd::KvType::f32;
  options.adapters = std::move(adapters);
  return options;
}

/// All logits, read in steps of so many tokens.
Rows read(Session& session, std::size_t step) {
  Rows rows;
  for (std::size_t done = 0; done < kText.size(); done += step) {
    const std::size_t count = (std::min)(step, kText.size() - done);
    Outputs outputs;
    outputs.logit_rows = count;
    outputs.logits = [&](std::size_t, Span<float> row) { rows.emplace_back(row.begin(), row.end()); };
    REQUIRE(session.try_evaluate(Span<const TokenId>(kText.data() + done, count), outputs).ok());
  }
  return rows;
}

Rows read_with(const Model& model, std::vector<SessionAdapter> adapters, std::size_t step, std::size_t threads = 2) {
  Session session(model, options_with(std::move(adapters), threads));
  return read(session, step);
}

Rows reference_rows(const Config& config, const Weights& weights) {
  reference::Model model(config, weights);
  const reference::Matrix logits = model.forward(kText, kText.size());
  Rows rows;
  for (std::size_t r = 0; r < logits.rows; ++r) rows.emplace_back(logits.row(r), logits.row(r) + logits.cols);
  return rows;
}

double difference(const Rows& a, const Rows& b) {
  REQUIRE(a.size() == b.size());
  double largest = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    for (std::size_t v = 0; v < a[i].size(); ++v) {
      largest = (std::max)(largest, std::abs(double{a[i][v]} - double{b[i][v]}));
    }
  }
  return largest;
}

/// Rounding of float32 in another order, as the golden values of the models allow.
constexpr double kRounding = 1e-3;
/// What an adapter that does anything changes at least.
constexpr double kEffect = 0.1;

Adapter from_gguf(const TestLora& lora, const Model& model, DType type = DType::F32) {
  return load_adapter_bytes(lora.gguf(type), "a.gguf", model);
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
#define CHECK_CONTAINS(text, part) CHECK_MESSAGE(contains(text, part), (text))

template <class T>
std::string message_of(const Result<T>& result) {
  return result.ok() ? "(accepted)" : result.error().message();
}

std::string refusal(const std::vector<std::uint8_t>& bytes, const Model& model) {
  return message_of(try_load_adapter_bytes(bytes, "a.bin", model));
}

}  // namespace

TEST_CASE("an adapter does what the same numbers merged into the weights do, in every family") {
  for (const char* name : {"gemma1_mqa", "gemma1_mha", "gemma2_swa", "gemma3_gqa4", "gemma3_swa", "gemma3n",
                           "gemma4_e", "gemma4_dense", "gemma4_moe"}) {
    CAPTURE(name);
    const FloatModel f(name);
    const TestLora lora(f.model, {});
    MergedWeights merged(f.model);
    const Rows before = reference_rows(f.model.config(), merged.weights());
    merged.merge(lora);
    const Rows want = reference_rows(f.model.config(), merged.weights());
    CHECK(difference(before, want) > kEffect);
    const Adapter adapter = from_gguf(lora, f.model);
    for (const std::size_t step : {24u, 7u, 2u, 1u}) {
      CAPTURE(step);
      CHECK(difference(read_with(f.model, {{adapter}}, step), want) < kRounding);
    }
  }
}

TEST_CASE("ranks of any size are applied, and the head has an adapter as well") {
  const FloatModel f("gemma3_swa");
  for (const std::size_t rank : {1u, 3u, 8u, 17u, 64u}) {
    CAPTURE(rank);
    TestLora::Shape shape;
    shape.rank = rank;
    shape.head = true;
    const TestLora lora(f.model, shape);
    MergedWeights merged(f.model);
    merged.merge(lora);
    const Rows want = reference_rows(f.model.config(), merged.weights());
    const Adapter adapter = from_gguf(lora, f.model);
    CHECK(adapter.rank() == rank);
    for (const std::size_t step : {24u, 1u}) {
      CHECK(difference(read_with(f.model, {{adapter}}, step), want) < kRounding);
    }
  }
}

TEST_CASE("several adapters add up, each with its scale") {
  const FloatModel f("gemma2_swa");
  const TestLora first(f.model, {4, true, false, 1}), second(f.model, {8, false, true, 2});
  MergedWeights merged(f.model);
  merged.merge(first, 0.5f);
  merged.merge(second, -1.25f);
  const Rows want = reference_rows(f.model.config(), merged.weights());
  const Adapter a = from_gguf(first, f.model), b = from_gguf(second, f.model);
  for (const std::size_t step : {24u, 1u}) {
    CHECK(difference(read_with(f.model, {{a, 0.5f}, {b, -1.25f}}, step), want) < kRounding);
    CHECK(difference(read_with(f.model, {{a, 0.5f}}, step), want) > kEffect);
  }
}

TEST_CASE("a scale of 0 and no adapter give the same bits") {
  const FloatModel f("gemma3_swa");
  const Adapter adapter = from_gguf(TestLora(f.model, {}), f.model);
  CHECK(read_with(f.model, {{adapter, 0.0f}}, 24) == read_with(f.model, {}, 24));
}

TEST_CASE("1, 2 and 3 threads give identical bits") {
  for (const char* kind : {"f32", "q8_0"}) {
    const Golden golden = Golden::load("gemma3_swa", kind);
    const Adapter adapter = from_gguf(TestLora(golden.model, {8, true, true, 3}), golden.model);
    for (const std::size_t step : {24u, 5u, 1u}) {
      const Rows want = read_with(golden.model, {{adapter}}, step, 1);
      for (const std::size_t threads : {2u, 3u}) {
        CHECK(read_with(golden.model, {{adapter}}, step, threads) == want);
      }
    }
  }
}

TEST_CASE("sessions of one model have adapters of their own, on threads of their own") {
  const FloatModel f("gemma3_swa");
  const Adapter a = from_gguf(TestLora(f.model, {4, true, false, 1}), f.model);
  const Adapter b = from_gguf(TestLora(f.model, {8, true, false, 2}), f.model);
  const std::vector<SessionAdapter> choices[] = {{}, {{a}}, {{b, 0.5f}}};
  Rows want[3], got[3];
  for (std::size_t i = 0; i < 3; ++i) want[i] = read_with(f.model, choices[i], 1, 1);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < 3; ++i) {
    threads.emplace_back([&, i] { got[i] = read_with(f.model, choices[i], 1, 1); });
  }
  for (std::thread& thread : threads) thread.join();
  for (std::size_t i = 0; i < 3; ++i) CHECK(got[i] == want[i]);
}

TEST_CASE("a session changes its adapters, and begins anew") {
  const FloatModel f("gemma3_swa");
  const Adapter a = from_gguf(TestLora(f.model, {4, true, false, 1}), f.model);
  const Adapter b = from_gguf(TestLora(f.model, {16, true, false, 2}), f.model);
  Session session(f.model, options_with({{a}}));
  CHECK(session.adapters().size() == 1);
  const Rows first = read(session, 24);
  session.set_adapters({{b}});
  CHECK(session.position() == 0);
  CHECK(read(session, 24) == read_with(f.model, {{b}}, 24));
  session.set_adapters({});
  CHECK(read(session, 24) == read_with(f.model, {}, 24));
  session.set_adapters({{a}});
  CHECK(read(session, 24) == first);

  SUBCASE("after an error all is as it was") {
    const FloatModel other("gemma2_swa");
    const Adapter foreign = from_gguf(TestLora(other.model, {}), other.model);
    const Status status = session.try_set_adapters({{foreign}});
    REQUIRE_FALSE(status.ok());
    CHECK_CONTAINS(status.error().message(), "a.gguf: was loaded for another model than the session's");
    CHECK(session.position() == kText.size());
    CHECK(session.adapters()[0].adapter.path() == "a.gguf");
    session.reset();
    CHECK(read(session, 24) == first);
    CHECK_FALSE(session.try_set_adapters({{a, std::nanf("")}}).ok());
  }
}

TEST_CASE("clones and saved sessions keep to their adapters") {
  const FloatModel f("gemma3_swa");
  const Adapter a = from_gguf(TestLora(f.model, {4, true, true, 1}), f.model);
  const Adapter b = from_gguf(TestLora(f.model, {4, true, true, 2}), f.model);
  Session session(f.model, options_with({{a}}));
  const std::vector<TokenId> more = {44, 55};
  read(session, 24);
  Session copy = session.clone();
  const TempFolder folder;
  session.save(folder.path("s"));
  const std::vector<float> want = session.logits(Span<const TokenId>(more));
  CHECK(copy.adapters().size() == 1);
  CHECK(copy.logits(Span<const TokenId>(more)) == want);
  copy.set_adapters({{b}});
  CHECK(read(copy, 24) == read_with(f.model, {{b}}, 24));

  Session same(f.model, options_with({{a}}));
  same.restore(folder.path("s"));
  CHECK(same.logits(Span<const TokenId>(more)) == want);
  for (const std::vector<SessionAdapter>& others :
       std::vector<std::vector<SessionAdapter>>{{}, {{b}}, {{a, 0.5f}}, {{a}, {b}}}) {
    Session other(f.model, options_with(others));
    const Status status = other.try_restore(folder.path("s"));
    REQUIRE_FALSE(status.ok());
    CHECK_CONTAINS(status.error().message(), "other adapters");
  }
}

TEST_CASE("where weights stream in and out of the file, adapters are added all the same") {
  const std::string path = data_path("kjv-small.gguf");
  LoadOptions map;
  map.access = FileAccess::map;  // as it must be with a limit
  const Model whole = load(path, map);
  const TestLora lora(whole, {4, true, true, 3});
  SessionOptions options = options_with({{from_gguf(lora, whole)}});
  options.batch = 8;
  Session reference(whole, options);
  const Rows want = read(reference, 24);
  const MemoryPlan plan = whole.plan(options).cpu;
  LoadOptions limited;
  limited.max_resident_bytes = plan.total() - plan.weights + least_paged_bytes(whole.weights());
  const Model model = load(path, limited);
  options.adapters = {{from_gguf(lora, model)}};
  Session session(model, options);
  CHECK(read(session, 24) == want);
  options.adapters = {};
  Session plain(model, options);
  CHECK(difference(read(plain, 24), want) > kEffect);

  SUBCASE("and their memory counts") {
    const Status status = plain.try_set_adapters({{from_gguf(lora, model)}, {from_gguf(lora, model)}});
    REQUIRE_FALSE(status.ok());
    CHECK(status.error().code() == ErrorCode::out_of_memory);
    CHECK(plain.adapters().empty());
  }
}

TEST_CASE("quantised weights keep their own rounding, and the adapter is added in float32") {
  // To the head, whose inputs and outputs can be seen.
  for (const char* name : {"gemma1_mqa", "gemma3_gqa4"}) {
    CAPTURE(name);
    const Golden golden = Golden::load(name, "q8_0");
    const std::size_t width = golden.model.config().width;
    TestLora lora(golden.model, {8, false, true, 4});
    lora.factors.erase(lora.factors.begin(), lora.factors.end() - 1);
    const LoraFactors& f = lora.factors[0];
    Session plain(golden.model, options_with({}));
    Session adapted(golden.model, options_with({{from_gguf(lora, golden.model)}}));
    for (const std::size_t tokens : {1u, 2u, 8u, 9u, 24u}) {
      CAPTURE(tokens);
      plain.reset();
      adapted.reset();
      Rows base, got, hidden;
      const auto run = [&](Session& session, Rows& logits, Rows* states) {
        Outputs outputs;
        outputs.logit_rows = tokens;
        outputs.logits = [&](std::size_t, Span<float> row) { logits.emplace_back(row.begin(), row.end()); };
        if (states != nullptr) {
          outputs.hidden = [&](std::size_t, Span<const float> row) { states->emplace_back(row.begin(), row.end()); };
        }
        REQUIRE(session.try_evaluate(Span<const TokenId>(kText.data(), tokens), outputs).ok());
      };
      run(plain, base, &hidden);
      run(adapted, got, nullptr);
      double worst = 0.0, largest = 0.0;
      for (std::size_t t = 0; t < tokens; ++t) {
        std::vector<double> inner(f.rank);
        for (std::size_t k = 0; k < f.rank; ++k) {
          for (std::size_t c = 0; c < width; ++c) inner[k] += double{f.a[k * width + c]} * double{hidden[t][c]};
        }
        for (std::size_t r = 0; r < f.matrix->rows; ++r) {
          double sum = 0.0;
          for (std::size_t k = 0; k < f.rank; ++k) sum += double{f.b[r * f.rank + k]} * inner[k];
          sum *= double{lora.scale(f)};
          worst = (std::max)(worst, std::abs(double{got[t][r]} - double{base[t][r]} - sum));
          largest = (std::max)(largest, std::abs(sum));
        }
      }
      CHECK(largest > kEffect);
      CHECK(worst < 1e-5);
    }
  }
}

TEST_CASE("quantised weights with an adapter stay as close to the merged ones as without") {
  for (const std::string& name : kGoldenQ8) {
    if (name == "gemma3_62l") continue;
    CAPTURE(name);
    const Golden golden = Golden::load(name, "q8_0");
    // With the adapter of seed 4, two of the mixture's experts are within 0.0002 of each other for one
    // token, and either may work on it. With that of seed 6 all are at least 0.027 apart.
    const TestLora lora(golden.model, {8, true, true, golden.model.config().experts > 0 ? 6u : 4u});
    MergedWeights merged(golden.model);
    merged.merge(lora);
    const Rows want = reference_rows(golden.model.config(), merged.weights());
    const Adapter adapter = from_gguf(lora, golden.model);
    for (const std::size_t step : {24u, 2u, 1u}) {
      CAPTURE(step);
      // The activations of many tokens have 8 bits, of few 15.
      CHECK(rms_difference(read_with(golden.model, {{adapter}}, step), want) < (step == 24 ? 0.2 : 0.005));
    }
  }
}

TEST_CASE("the head in two passes gives way to an adapter of the head") {
  const Golden golden = Golden::load("gemma3_swa", "q8_0");
  const Adapter adapter = from_gguf(TestLora(golden.model, {4, true, true, 5}), golden.model);
  SessionOptions options = options_with({{adapter}});
  Session plain(golden.model, options);
  options.two_pass_head = true;
  Session two_pass(golden.model, options);
  GenerateOptions generate;
  generate.sampler.temperature = 0.0f;
  generate.max_tokens = 12;
  CHECK(two_pass.generate(Span<const TokenId>(kText), {}, generate).ids ==
        plain.generate(Span<const TokenId>(kText), {}, generate).ids);
}

TEST_CASE("all formats hold the same adapter") {
  for (const char* name : {"gemma1_mqa", "gemma2_swa", "gemma3_swa"}) {
    CAPTURE(name);
    const FloatModel f(name);
    const TestLora lora(f.model, {8, false, false, 6});
    const Rows want = read_with(f.model, {{from_gguf(lora, f.model)}}, 24);
    for (const DType type : {DType::F16, DType::BF16}) {
      CHECK(read_with(f.model, {{from_gguf(lora, f.model, type)}}, 24) == want);
    }
    for (const char* type : {"F32", "F16", "BF16"}) {
      const TempFolder folder;
      lora.write_peft(folder, type);
      CHECK(read_with(f.model, {{load_adapter(folder.path(), f.model)}}, 24) == want);
      CHECK(read_with(f.model, {{load_adapter(folder.path("adapter_model.safetensors"), f.model)}}, 24) == want);
    }
    // MediaPipe's files do not say alpha.
    const Adapter mediapipe = load_adapter_bytes(lora.mediapipe().build(), "lora.bin", f.model);
    CHECK(mediapipe.scale() == 1.0f);
    CHECK_FALSE(mediapipe.info().alpha.has_value());
    CHECK(read_with(f.model, {{mediapipe, lora.scale(lora.factors[0])}}, 24) == want);
  }
}

TEST_CASE("quantised factors are used as what they decode to") {
  const FloatModel f("gemma3_swa");
  TestLora lora(f.model, {});
  const Adapter quantised = from_gguf(lora, f.model, DType::Q8_0);
  for (LoraFactors& factors : lora.factors) {
    const std::size_t bytes = quant::row_bytes(DType::Q8_0, factors.matrix->cols).value();
    std::vector<std::uint8_t> row(bytes);
    for (std::size_t r = 0; r < factors.rank; ++r) {
      float* values = factors.a.data() + r * factors.matrix->cols;
      quant::encode_row(DType::Q8_0, values, factors.matrix->cols, row.data());
      quant::decode_row(DType::Q8_0, row.data(), factors.matrix->cols, values);
    }
  }
  CHECK(read_with(f.model, {{quantised}}, 24) == read_with(f.model, {{from_gguf(lora, f.model)}}, 24));
}

TEST_CASE("PEFT's names of modules, ranks and alphas are understood") {
  const FloatModel f("gemma3_swa");
  TestLora lora(f.model, {4, true, false, 8});
  const Rows want = read_with(f.model, {{from_gguf(lora, f.model)}}, 24);
  for (const char* prefix : {"base_model.model.model.language_model.", "base_model.model.language_model.model.", "model.", ""}) {
    CAPTURE(prefix);
    const TempFolder folder;
    lora.write_peft(folder, "F32", {}, prefix);
    CHECK(read_with(f.model, {{load_adapter(folder.path(), f.model)}}, 24) == want);
  }
  SUBCASE("rank-stabilised: alpha is divided by the root of the rank") {
    const TempFolder folder;
    lora.write_peft(folder, "F32", [](nlohmann::json& config) { config["use_rslora"] = true; });
    const Adapter adapter = load_adapter(folder.path(), f.model);
    CHECK(adapter.scale() == doctest::Approx(lora.alpha / 2.0f));
    CHECK(difference(read_with(f.model, {{adapter, 0.5f}}, 24), want) < kRounding);
  }
  SUBCASE("alphas of some modules") {
    const TempFolder folder;
    lora.write_peft(folder, "F32", [](nlohmann::json& config) {
      config["alpha_pattern"] = {{"q_proj", 12.0}, {"^model\\.layers\\.1\\.mlp.up_proj", 2}};
    });
    const Adapter adapter = load_adapter(folder.path(), f.model);
    for (const AdaptedMatrix& m : adapter.matrices()) {
      CAPTURE(m.name);
      const bool query = contains(m.name, "attn_q"), up = m.name == "blk.1.ffn_up.weight";
      CHECK(m.scale == (query ? 3.0f : up ? 0.5f : 1.5f));
    }
  }
  SUBCASE("ranks of some modules") {
    std::vector<float>& a = lora.factors[0].a;
    std::vector<float>& b = lora.factors[0].b;
    a.resize(a.size() / 2);
    b.resize(b.size() / 2);
    lora.factors[0].rank = 2;
    const TempFolder folder;
    const auto ranks = [](nlohmann::json& config) {
      config["r"] = 4;
      config["rank_pattern"] = {{"layers.0.self_attn.q_proj", 2}};
    };
    lora.write_peft(folder, "F32", ranks);
    const Adapter adapter = load_adapter(folder.path(), f.model);
    CHECK(static_cast<float>(adapter.matrices()[0].rank) * adapter.matrices()[0].scale == doctest::Approx(lora.alpha));
    MergedWeights merged(f.model);
    merged.merge(lora);
    CHECK(difference(read_with(f.model, {{adapter}}, 24), reference_rows(f.model.config(), merged.weights())) <
          kRounding);
    lora.write_peft(folder, "F32", [](nlohmann::json& config) { config["r"] = 4; });
    CHECK_CONTAINS(message_of(try_load_adapter(folder.path(), f.model)),
                   "is for rank 2, but adapter_config.json says r is 4");
  }
}

TEST_CASE("what of PEFT is no LoRA, or not text, is refused or passed over") {
  const FloatModel f("gemma3_swa");
  const TestLora lora(f.model, {4, false, false, 8});
  const auto refused = [&](const char* key, const nlohmann::json& value) {
    const TempFolder folder;
    lora.write_peft(folder, "F32", [&](nlohmann::json& config) { config[key] = value; });
    const Result<Adapter> adapter = try_load_adapter(folder.path(), f.model);
    REQUIRE_FALSE(adapter.ok());
    CHECK(adapter.error().code() == ErrorCode::unsupported);
    CHECK_CONTAINS(adapter.error().message(), std::string("adapter_config.json: key '") + key + "'");
    return adapter.error().message();
  };
  CHECK_CONTAINS(refused("use_dora", true), "merge_and_unload()");
  CHECK_CONTAINS(refused("peft_type", "LOHA"), "'LOHA', which this version does not apply; expected 'LORA'");
  CHECK_CONTAINS(refused("bias", "all"), "expected 'none'");
  CHECK_CONTAINS(refused("modules_to_save", {"embed_tokens"}), "embed_tokens");
  CHECK_CONTAINS(refused("init_lora_weights", "pissa_niter_4"), "changes the model itself");
  refused("lora_bias", true);
  refused("trainable_token_indices", {5});

  const TempFolder folder;
  SafetensorsBuilder tensors;
  const std::vector<float> numbers(8 * 64, 0.5f);
  const std::string q = "base_model.model.model.layers.0.self_attn.q_proj";
  const auto add_pair = [&](const std::string& module) {
    tensors.add(module + ".lora_A.weight", {8, 64}, numbers);
    tensors.add(module + ".lora_B.weight", {64, 8}, numbers);
  };
  add_pair(q);
  add_pair("base_model.model.vision_tower.vision_model.encoder.layers.0.self_attn.q_proj");
  lora.write_peft(folder, "F32", [](nlohmann::json& config) { config["r"] = 8; });
  folder.write("adapter_model.safetensors", tensors.bytes());
  CHECK(load_adapter(folder.path(), f.model).matrices().size() == 1);
  const auto refusal_of = [&](const std::string& name) {
    SafetensorsBuilder more = tensors;
    more.add(name, {8, 64}, numbers);
    folder.write("adapter_model.safetensors", more.bytes());
    return message_of(try_load_adapter(folder.path(), f.model));
  };
  CHECK_CONTAINS(refusal_of(q + ".lora_magnitude_vector"), "is none of the two factors of a matrix");
  CHECK_CONTAINS(refusal_of("base_model.model.model.embed_tokens.lora_embedding_A"), "is none of the two factors");
  CHECK_CONTAINS(refusal_of("base_model.model.lm_head.weight"), "is none of the two factors");
  CHECK_CONTAINS(refusal_of("base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight"),
                 "stands alone: the other factor (B) of 'blk.1.attn_q.weight' is missing");
  CHECK_CONTAINS(refusal_of(q + ".lora_A.default.weight"), "comes twice");
  add_pair("base_model.model.model.layers.0.per_layer_input_gate");
  folder.write("adapter_model.safetensors", tensors.bytes());
  CHECK_CONTAINS(message_of(try_load_adapter(folder.path(), f.model)),
                 "would change the matrix 'blk.0.inp_gate.weight', which this version does not adapt");
  folder.remove("adapter_config.json");
  CHECK_CONTAINS(message_of(try_load_adapter(folder.path(), f.model)), "adapter_config.json");
  folder.remove("adapter_model.safetensors");
  CHECK_CONTAINS(message_of(try_load_adapter(folder.path(), f.model)), "neither adapter_config.json nor");
}

TEST_CASE("an adapter for another model is refused, with what was found and expected") {
  const FloatModel swa("gemma3_swa"), gqa("gemma3_gqa4"), second("gemma2_swa"), deep("gemma3_base");
  CHECK_CONTAINS(refusal(TestLora(second.model, {}).gguf(), swa.model), "a.bin: was made for Gemma 2, but ");
  const std::string shape = refusal(TestLora(gqa.model, {}).gguf(), swa.model);
  CHECK_CONTAINS(shape, "tensor 'blk.0.attn_q.weight.lora_b' gives 128 outputs, but 'blk.0.attn_q.weight' of ");
  CHECK_CONTAINS(shape, " has 64; was the adapter made for another model?");
  // Layers are compared in order; make the shapes before the seventh those of the model.
  TestLora lora(swa.model, {});
  lora.factors[0].name = "blk.6.attn_q.weight";
  CHECK_CONTAINS(refusal(lora.gguf(), swa.model), "is for layer 6, but ");
  CHECK_CONTAINS(refusal(lora.gguf(), swa.model), " has 6 layers");
}

TEST_CASE("damaged adapters are refused") {
  const FloatModel f("gemma3_swa");
  const TestLora lora(f.model, {});
  const auto spoiled = [&](const std::function<void(GgufBuilder&)>& edit) {
    return refusal(lora.gguf(DType::F32, edit), f.model);
  };
  const std::vector<std::uint8_t> numbers(64 * 4 * 4);
  CHECK_CONTAINS(spoiled([&](GgufBuilder& b) { b.tensor("blk.0.attn_norm.weight", DType::F32, {64}, std::vector<std::uint8_t>(256)); }),
                 "tensor 'blk.0.attn_norm.weight' is no part of a LoRA");
  CHECK_CONTAINS(spoiled([&](GgufBuilder& b) { b.tensor("token_embd.weight.lora_a", DType::F32, {64, 4}, numbers); }),
                 "stands alone");
  CHECK_CONTAINS(spoiled([&](GgufBuilder& b) {
                   b.tensor("token_embd.weight.lora_a", DType::F32, {64, 4}, numbers);
                   b.tensor("token_embd.weight.lora_b", DType::F32, {4, 64}, numbers);
                 }),
                 "would change the matrix 'token_embd.weight'");
  CHECK_CONTAINS(spoiled([&](GgufBuilder& b) {
                   b.tensor("output.weight.lora_a", DType::F32, {64, 4}, numbers);
                   b.tensor("output.weight.lora_b", DType::F32, {8, 32}, numbers);
                 }),
                 "is for rank 8, but 'output.weight.lora_a' for rank 4");
  CHECK_CONTAINS(spoiled([&](GgufBuilder& b) { b.u32("adapter.alora.invocation_tokens", 1); }), "activated lora");
  TestLora broken(f.model, {});
  broken.factors[0].b[5] = std::nanf("");
  CHECK_CONTAINS(refusal(broken.gguf(), f.model), "tensor 'blk.0.attn_q.weight.lora_b' holds a value that is not a number");
  const std::string page = "<html><body>404</body></html>";
  CHECK_CONTAINS(refusal({page.begin(), page.end()}, f.model), "is not an adapter, it begins with '<html>");

  TflBuilder small = TestLora(f.model, {4, false, false, 1}).mediapipe();
  small.tensors[3].data.resize(8);
  CHECK_CONTAINS(refusal(small.build(), f.model), "has 8 bytes, expected ");
  TflBuilder strange = TestLora(f.model, {4, false, false, 1}).mediapipe();
  strange.find("params.lm.transformer.x_layers_0.ff_layer.ffn_layer1.w_prime_left").data.resize(64);
  CHECK_CONTAINS(refusal(strange.build(), f.model), "is none of the factors that this version reads");
  TflBuilder odd = TestLora(f.model, {4, false, false, 1}).mediapipe();
  for (auto& m : odd.metadata) {
    if (m.key == "lora_rank") m.number = 3;
  }
  CHECK_CONTAINS(refusal(odd.build(), f.model), "'lora_rank' is 3, expected a multiple of 4");
}

TEST_CASE("models and adapters are not mistaken for each other") {
  const FloatModel f("gemma3_swa");
  const TestLora lora(f.model, {4, false, false, 1});
  const TempFolder folder, peft;
  const std::vector<std::uint8_t> gguf = lora.gguf(), bin = lora.mediapipe().build();
  folder.write("a.gguf", {gguf.begin(), gguf.end()});
  folder.write("a.bin", {bin.begin(), bin.end()});
  lora.write_peft(peft);
  for (const std::string& path : {folder.path("a.gguf"), folder.path("a.bin"), peft.path(), peft.path("adapter_model.safetensors")}) {
    CAPTURE(path);
    CHECK(is_adapter(path));
    CHECK(load_adapter(path, f.model).path() == path);
    const AdapterInfo info = read_adapter_info(path);
    CHECK(info.rank == 4);
    CHECK(info.matrices.size() == 24);
    CHECK(info.matrices[0].name == "blk.0.attn_q.weight");
    const std::string message = message_of(try_load(path));
    CHECK_CONTAINS(message, "is a LoRA adapter, not a model");
    CHECK_CONTAINS(message, "--lora");
  }
  CHECK(read_adapter_info(peft.path()).base == "google/gemma-test");
  CHECK(read_adapter_info(peft.path()).alpha == 6.0f);
  const std::string mini = data_path("mediapipe/mini_GEMMA_2B_gpu_int8.bin");
  for (const std::string& path : {f.folder.path(), f.folder.path() + "/model.safetensors", data_path("tiny-gemma3.gguf"), mini}) {
    CAPTURE(path);
    CHECK_FALSE(is_adapter(path));
    CHECK_CONTAINS(message_of(try_load_adapter(path, f.model)), "is a model (");
  }
}

TEST_CASE("what MediaPipe's converter wrote comes out as what went in") {
  // Factors of rank 8 of Gemma 2B, which make_mediapipe_lora.py gave it by this rule.
  const auto rule = [](std::size_t r, std::size_t c) {
    return static_cast<float>(static_cast<int>((r * 131 + c * 31) % 509) - 254) / 256.0f;
  };
  struct Sample {
    const char* name;
    std::size_t rows;
    bool rearranged;
  };
  for (const Sample& sample : {Sample{"k_right", 256, false}, Sample{"post_left", 2048, true}}) {
    const char* name = sample.name;
    const std::size_t rows = sample.rows;
    CAPTURE(name);
    const std::string tiles = file_text(data_path(std::string("mediapipe/lora_rank8_") + name + ".f16"));
    REQUIRE(tiles.size() == 2 * 8 * rows);
    const std::vector<float> b = gemma::mediapipe::detail::untile_halves(
        reinterpret_cast<const std::uint8_t*>(tiles.data()), rows, 8, sample.rearranged);
    std::size_t wrong = 0;
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t c = 0; c < 8; ++c) wrong += b[r * 8 + c] != rule(r, c);
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("a mutated adapter is refused or runs") {
  const FloatModel f("gemma3_swa");
  const TestLora lora(f.model, {4, false, false, 9});
  const TempFolder folder;
  lora.write_peft(folder);
  const std::string config = file_text(folder.path("adapter_config.json"));
  const std::string tensors = file_text(folder.path("adapter_model.safetensors"));
  const std::vector<std::uint8_t> files[] = {lora.gguf(), lora.mediapipe().build(), {config.begin(), config.end()},
                                             {tensors.begin(), tensors.end()}};
  Session session(f.model, options_with({}));
  for (std::size_t kind = 0; kind < 4; ++kind) {
    CAPTURE(kind);
    std::mt19937 random(11);
    std::size_t ran = 0, refused = 0;
    for (std::size_t i = 0; i < 400; ++i) {
      std::vector<std::uint8_t> mutant = files[kind];
      for (std::size_t changes = 1 + random() % 3; changes > 0; --changes) {
        const std::uint8_t values[] = {0, 1, 0x7F, 0xFF, static_cast<std::uint8_t>(random())};
        mutant[random() % (std::min)(mutant.size(), std::size_t{8000})] = values[random() % 5];
      }
      folder.write("adapter_config.json", config);
      folder.write("adapter_model.safetensors", tensors);
      if (kind >= 2) {
        folder.write(kind == 2 ? "adapter_config.json" : "adapter_model.safetensors", {mutant.begin(), mutant.end()});
      }
      const Result<Adapter> adapter = kind < 2 ? try_load_adapter_bytes(mutant, "mutant", f.model)
                                               : try_load_adapter(folder.path(), f.model);
      std::vector<SessionAdapter> adapters;
      if (adapter) adapters.push_back({*adapter});
      if (!adapter || !session.try_set_adapters(adapters)) {
        ++refused;
        continue;
      }
      // Numbers may have become too large.
      const auto logits = session.try_logits(Span<const TokenId>(kText.data(), 3));
      CHECK((logits.ok() || logits.error().code() == ErrorCode::format));
      ++ran;
    }
    CHECK(ran > 0);
    CHECK(refused > 0);
  }
}
