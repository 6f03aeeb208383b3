#include "gemma/backend/opencl.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gemma/backend/cpu.hpp"
#include "gemma/base/float16.hpp"
#include "gemma/quant/registry.hpp"
#include "golden.hpp"
#include "opencl/fault_functions.hpp"
#include "opencl/test_device.hpp"
#include "temp_folder.hpp"

namespace {

namespace opencl = gemma::opencl;
using gemma::OpenClRunnerOptions;
using gemma::Runner;
using gemma::Span;
using gemma::TokenId;

/// Kernels compiled once for all tests of a run, and for later runs.
std::string kernel_cache() {
  const char* folder = std::getenv("GEMMA_OPENCL_CACHE");
  return folder != nullptr ? folder : "";
}

OpenClRunnerOptions exact_options() {
  OpenClRunnerOptions options;
  options.context = 128;
  options.batch = 64;
  options.half_kv = false;
  options.cache_folder = kernel_cache();
  return options;
}

gemma::Result<std::unique_ptr<Runner>> try_runner(const gemma::Model& model,
                                                  const opencl::Device& device,
                                                  const OpenClRunnerOptions& options) {
  return gemma::create_opencl_runner(model.config(), model.weights(), device, options);
}

gemma::Status read(Runner& runner, const std::vector<TokenId>& ids, std::size_t rows, Rows& out) {
  gemma::Outputs outputs;
  outputs.logit_rows = rows;
  outputs.logits = [&](std::size_t, Span<float> row) { out.emplace_back(row.begin(), row.end()); };
  return runner.forward(ids, outputs);
}

Rows logits(Runner& runner, const std::vector<TokenId>& ids, std::size_t rows) {
  Rows out;
  const gemma::Status status = read(runner, ids, rows, out);
  if (!status) FAIL_CHECK(status.error().message());
  REQUIRE(out.size() == rows);
  return out;
}

/// All positions in one batch, all one by one, and a batch again with its continuation.
void check_model(const Golden& golden, const opencl::Device& device,
                 const OpenClRunnerOptions& options = exact_options()) {
  CAPTURE(golden.name);
  auto made = try_runner(golden.model, device, options);
  if (!made) FAIL(made.error().message());
  Runner& runner = **made;
  const std::vector<TokenId>& ids = golden.input_ids;
  check_golden(golden, logits(runner, ids, ids.size()));
  runner.reset();
  Rows steps;
  for (const TokenId id : ids) steps.push_back(logits(runner, {id}, 1)[0]);
  check_golden(golden, steps);
  runner.reset();
  check_greedy(golden, [&](const std::vector<TokenId>& next) {
    return logits(runner, next, 1)[0];
  });
}

/// The device without tensor cores, whose rounding has limits of its own.
std::optional<opencl::Device> exact_device() {
  std::optional<opencl::Device> device = test_device();
  if (device) device->nvidia_compute = 0;
  return device;
}

/// Random weights of every format, as the matrices of a model of one layer each.
class EveryFormat {
 public:
  EveryFormat() {
    config_.family = gemma::Family::gemma3;
    config_.vocab_size = kSize;
    config_.width = kSize;
    config_.heads = 1;
    config_.context_length = 64;
    weights_.output_norm.assign(kSize, 1.0f);
    add_layers(gemma::quant::AllFormats{});
    weights_.embedding = weights_.head = weights_.layers[0].q;
  }
  const gemma::Config& config() const { return config_; }
  const gemma::Weights& weights() const { return weights_; }

 private:
  static constexpr std::size_t kSize = 256;

  template <class... Formats>
  void add_layers(gemma::quant::FormatList<Formats...>) {
    (add_layer<Formats>(), ...);
  }

  template <class Format>
  gemma::WeightMatrix matrix() {
    constexpr std::size_t kBlocks = kSize * kSize / Format::kBlockElements;
    std::vector<std::uint8_t>& bytes = storage_.emplace_back(kBlocks * Format::kBlockBytes);
    for (std::uint8_t& byte : bytes) {
      state_ = state_ * 1664525u + 1013904223u;
      byte = static_cast<std::uint8_t>(state_ >> 24);
    }
    for (std::size_t b = 0; b < kBlocks; ++b) {
      std::uint8_t* block = bytes.data() + b * Format::kBlockBytes;
      if constexpr (Format::kBlockElements > 1) {
        const std::uint16_t d = gemma::half_from_float(1e-3f);
        std::memcpy(block + Format::kScaleOffset, &d, 2);
        if constexpr (Format::kHasMin) std::memcpy(block + Format::kMinOffset, &d, 2);
      } else {
        const float value = static_cast<float>(block[0]) * 1e-3f;
        const std::uint16_t half = gemma::half_from_float(value);
        const std::uint16_t upper = static_cast<std::uint16_t>(gemma::float_bits(value) >> 16);
        if constexpr (Format::kBlockBytes == 4) std::memcpy(block, &value, 4);
        if constexpr (Format::kType == gemma::DType::F16) std::memcpy(block, &half, 2);
        if constexpr (Format::kType == gemma::DType::BF16) std::memcpy(block, &upper, 2);
      }
    }
    gemma::WeightMatrix m;
    m.type = Format::kType;
    m.data = bytes.data();
    m.rows = kSize;
    m.cols = kSize;
    m.row_bytes = kSize / Format::kBlockElements * Format::kBlockBytes;
    return m;
  }

  template <class Format>
  void add_layer() {
    gemma::LayerConfig layer;
    layer.head_dim = kSize;
    layer.kv_heads = 1;
    layer.ffn_width = kSize;
    layer.kv_layer = config_.layers.size();
    config_.layers.push_back(layer);
    gemma::LayerWeights w;
    for (gemma::WeightMatrix* m : {&w.q, &w.k, &w.v, &w.attention_out, &w.gate, &w.up, &w.down}) {
      *m = matrix<Format>();
    }
    for (gemma::NormWeights* n : {&w.attention_norm, &w.post_attention_norm, &w.ffn_norm,
                                  &w.post_ffn_norm, &w.q_norm, &w.k_norm}) {
      n->assign(kSize, 1.0f);
    }
    weights_.layers.push_back(std::move(w));
  }

  gemma::Config config_;
  gemma::Weights weights_;
  std::deque<std::vector<std::uint8_t>> storage_;
  std::uint32_t state_ = 1;
};

}  // namespace

TEST_CASE("OpenCL agrees with the golden models of every family") {
  const auto device = exact_device();
  if (!device) return;
  for (const std::string& name : kGoldenF32) check_model(Golden::load(name, "f32"), *device);
  for (const std::string& name : kGoldenQ8) check_model(Golden::load(name, "q8_0"), *device);
}

TEST_CASE("OpenCL gives the same with weights in many parts and with the smallest work-groups") {
  auto device = exact_device();
  if (!device) return;
  device->largest_allocation = 20000;
  device->work_group_size = 32;
  for (const char* name : {"gemma3_base", "gemma4_moe"}) {
    check_model(Golden::load(name, "q8_0"), *device);
  }
}

TEST_CASE("OpenCL runs the last layers where the CPU runs the first ones") {
  const auto device = exact_device();
  if (!device) return;
  OpenClRunnerOptions options = exact_options();
  options.threads = 1;
  for (const char* name : {"gemma3_swa", "gemma3_linear8"}) {
    const Golden golden = Golden::load(name, "f32");
    const std::size_t layers = golden.model.config().layers.size();
    for (options.layers = 1; options.layers < layers; ++options.layers) {
      CAPTURE(options.layers);
      check_model(golden, *device, options);
      const auto runner = try_runner(golden.model, *device, options).value();
      CHECK(runner->description() == "opencl: " + device->name + " with " +
                                         std::to_string(options.layers) + " of " +
                                         std::to_string(layers) + " layers");
    }
  }
}

TEST_CASE("a divided model can be rewound, and gives hidden states") {
  const auto device = exact_device();
  if (!device) return;
  const Golden golden = Golden::load("gemma3_swa", "f32");
  OpenClRunnerOptions options = exact_options();
  const auto whole = try_runner(golden.model, *device, options).value();
  options.layers = 2;
  const auto divided = try_runner(golden.model, *device, options).value();
  const std::vector<TokenId>& ids = golden.input_ids;
  const std::vector<TokenId> first(ids.begin(), ids.begin() + 6);
  const auto hidden_states = [&](Runner& runner) {
    Rows rows;
    gemma::Outputs outputs;
    outputs.hidden = [&](std::size_t, Span<const float> row) {
      rows.emplace_back(row.begin(), row.end());
    };
    REQUIRE(runner.forward(first, outputs).ok());
    runner.rewind(3);
    CHECK(runner.position() == 3);
    rows.push_back(logits(runner, {ids[7]}, 1)[0]);
    return rows;
  };
  const Rows want = hidden_states(*whole);
  const Rows got = hidden_states(*divided);
  REQUIRE(got.size() == 7);
  for (std::size_t i = 0; i < got.size(); ++i) {
    CHECK(rms_difference({got[i]}, {want[i]}) < 1e-4);
  }
}

TEST_CASE("a model whose layers share something cannot be divided") {
  const auto device = exact_device();
  if (!device) return;
  OpenClRunnerOptions options = exact_options();
  options.layers = 1;
  const std::pair<const char*, const char*> models[] = {
      {"gemma3n", "residual streams"}, {"gemma4_e", "per-layer embeddings"}};
  for (const auto& [name, why] : models) {
    const Golden golden = Golden::load(name, "q8_0");
    const auto made = try_runner(golden.model, *device, options);
    REQUIRE_FALSE(made.ok());
    CHECK(made.error().code() == gemma::ErrorCode::invalid_argument);
    CHECK(made.error().message().find(why) != std::string::npos);
  }
  const Golden golden = Golden::load("gemma3_swa", "f32");
  options.layers = 0;
  CHECK_FALSE(try_runner(golden.model, *device, options).ok());
}

TEST_CASE("OpenCL with a float16 cache stays close to the float32 one") {
  const auto device = exact_device();
  if (!device) return;
  const Golden golden = Golden::load("gemma3_swa", "q8_0");
  OpenClRunnerOptions options = exact_options();
  auto exact = try_runner(golden.model, *device, options).value();
  options.half_kv = true;
  auto half = try_runner(golden.model, *device, options).value();
  const std::size_t n = golden.input_ids.size();
  const Rows want = logits(*exact, golden.input_ids, n);
  const double difference = rms_difference(logits(*half, golden.input_ids, n), want);
  CHECK(difference > 0.0);
  CHECK(difference < 5e-3);
}

TEST_CASE("OpenCL runs weights of every format as the CPU does") {
  const auto device = exact_device();
  if (!device) return;
  const EveryFormat model;
  OpenClRunnerOptions options = exact_options();
  options.context = 16;
  options.batch = 8;
  // Each format's kernels are compared with plain loops when the runner is made.
  auto made = gemma::create_opencl_runner(model.config(), model.weights(), *device, options);
  if (!made) FAIL(made.error().message());
  gemma::CpuOptions cpu_options;
  cpu_options.context = 16;
  cpu_options.kv_type = gemma::simd::KvType::f32;
  auto cpu = gemma::create_cpu_runner(model.config(), model.weights(), cpu_options).value();
  const std::vector<TokenId> ids = {3, 1, 4, 1, 5, 9};
  const Rows want = logits(*cpu, ids, ids.size());
  const Rows got = logits(**made, ids, ids.size());
  const Rows zero(want.size(), std::vector<float>(want[0].size(), 0.0f));
  CHECK(rms_difference(got, want) < 2e-3 * rms_difference(want, zero));
}

TEST_CASE("OpenCL finds the largest logit itself if no other is asked for") {
  const auto device = exact_device();
  if (!device) return;
  const Golden golden = Golden::load("gemma2_swa", "q8_0");
  auto runner = try_runner(golden.model, *device, exact_options()).value();
  for (const std::size_t length : {std::size_t{1}, std::size_t{7}}) {
    const std::vector<TokenId> ids(golden.input_ids.begin(),
                                   golden.input_ids.begin() + static_cast<std::ptrdiff_t>(length));
    runner->reset();
    const std::vector<float> row = logits(*runner, ids, 1)[0];
    runner->reset();
    gemma::Outputs outputs;
    outputs.logit_rows = 1;
    outputs.top = 1;
    outputs.logits = [](std::size_t, Span<float>) { FAIL_CHECK("logits were fetched"); };
    TokenId found = -1;
    float value = 0.0f;
    outputs.best = [&](std::size_t index, TokenId id, float logit) {
      CHECK(index == length - 1);
      found = id;
      value = logit;
    };
    REQUIRE(runner->forward(ids, outputs).ok());
    CHECK(found == argmax(row));
    CHECK(value == row[static_cast<std::size_t>(found)]);
  }
}

TEST_CASE("OpenCL finds the largest few logits itself if no other is asked for") {
  const auto device = exact_device();
  if (!device) return;
  const Golden golden = Golden::load("gemma2_swa", "q8_0");
  auto runner = try_runner(golden.model, *device, exact_options()).value();
  const std::vector<TokenId>& ids = golden.input_ids;
  const std::size_t vocab = golden.model.config().vocab_size;
  for (std::size_t length = 1; length < 5; ++length) {
    const std::vector<TokenId> some(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(length));
    runner->reset();
    const std::vector<float> row = logits(*runner, some, 1)[0];
    std::vector<float> sorted = row;
    std::sort(sorted.begin(), sorted.end(), [](float a, float b) { return a > b; });
    for (const std::size_t top : {std::size_t{1}, std::size_t{5}, vocab / 2}) {
      runner->reset();
      gemma::Outputs outputs;
      outputs.logit_rows = 1;
      outputs.top = top;
      std::vector<float> got;
      outputs.logits = [&](std::size_t index, Span<float> part) {
        CHECK(index == length - 1);
        got.assign(part.begin(), part.end());
      };
      REQUIRE(runner->forward(some, outputs).ok());
      REQUIRE(got.size() == vocab);
      std::size_t wrong = 0;
      for (std::size_t i = 0; i < vocab; ++i) {
        const bool given = got[i] == row[i];
        wrong += row[i] >= sorted[top - 1] ? !given : !given && !std::isinf(got[i]);
      }
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("the memory told for OpenCL is what is taken") {
  auto device = exact_device();
  if (!device) return;
  static std::size_t taken;
  static opencl::Functions real;
  taken = 0;
  real = device->functions();
  auto counting = std::make_shared<opencl::Functions>(real);
  counting->clCreateBuffer = [](opencl::ContextId context, opencl::Bits flags, std::size_t size,
                                void* data, opencl::Int* code) {
    taken += size;
    return real.clCreateBuffer(context, flags, size, data, code);
  };
  device->platform.functions = counting;
  for (const char* name : {"gemma3_base", "gemma3n", "gemma4_moe"}) {
    CAPTURE(name);
    const Golden golden = Golden::load(name, "q8_0");
    OpenClRunnerOptions options = exact_options();
    options.batch = 512;
    options.context = 512;
    const double told = static_cast<double>(
        gemma::plan_opencl_memory(golden.model.config(), golden.model.weights(), options).total());
    taken = 0;
    auto runner = try_runner(golden.model, *device, options);
    REQUIRE(runner.ok());
    // What the self-test takes for a moment is in `taken`, too.
    CHECK(static_cast<double>(taken) < 1.2 * told);
    CHECK(static_cast<double>(taken) > 0.95 * told);
  }
}

TEST_CASE("a device that computes wrong numbers fails the self-test") {
  auto device = exact_device();
  if (!device) return;
  static opencl::Functions real;
  real = device->functions();
  auto wrong = std::make_shared<opencl::Functions>(real);
  wrong->clEnqueueReadBuffer = [](opencl::QueueId queue, opencl::MemoryId buffer,
                                  opencl::UInt blocking, std::size_t offset, std::size_t size,
                                  void* data, opencl::UInt events, const opencl::EventId* list,
                                  opencl::EventId* event) {
    const opencl::Int code =
        real.clEnqueueReadBuffer(queue, buffer, blocking, offset, size, data, events, list, event);
    float first;
    std::memcpy(&first, data, sizeof(first));
    first += 0.25f;
    std::memcpy(data, &first, sizeof(first));
    return code;
  };
  device->platform.functions = wrong;
  const Golden golden = Golden::load("gemma3_base", "q8_0");
  const auto made = try_runner(golden.model, *device, exact_options());
  REQUIRE_FALSE(made.ok());
  CHECK(made.error().code() == gemma::ErrorCode::self_test_failed);
  CHECK(made.error().message().find("self-test failed") != std::string::npos);
  CHECK(made.error().message().find(device->name) != std::string::npos);
}

TEST_CASE("a model with larger heads than the kernels take is unsupported") {
  const auto device = exact_device();
  if (!device) return;
  const Golden golden = Golden::load("gemma3_base", "q8_0");
  gemma::Config config = golden.model.config();
  config.layers.back().head_dim = 514;
  const auto made = gemma::create_opencl_runner(config, golden.model.weights(), *device,
                                                exact_options());
  REQUIRE_FALSE(made.ok());
  CHECK(made.error().code() == gemma::ErrorCode::unsupported);
  CHECK(made.error().message().find("this model's have 514") != std::string::npos);
}

TEST_CASE("kernels are compiled once and then taken from the cache") {
  auto device = exact_device();
  if (!device) return;
  const TempFolder cache;
  const Golden golden = Golden::load("gemma3_base", "q8_0");
  OpenClRunnerOptions options = exact_options();
  options.cache_folder = cache.path();
  const opencl::Platform platform = device->platform;
  device->platform = with_fault(platform, "", 0, 0);
  REQUIRE(try_runner(golden.model, *device, options).ok());
  CHECK(fault_state().calls["clCreateProgramWithSource"] == 1);
  device->platform = with_fault(platform, "", 0, 0);
  REQUIRE(try_runner(golden.model, *device, options).ok());
  CHECK(fault_state().calls["clCreateProgramWithSource"] == 0);
  // A damaged file costs time, nothing else.
  for (const auto& entry : std::filesystem::directory_iterator(cache.path())) {
    std::ofstream(entry.path(), std::ios::binary) << "no kernels";
  }
  device->platform = with_fault(platform, "", 0, 0);
  REQUIRE(try_runner(golden.model, *device, options).ok());
  CHECK(fault_state().calls["clCreateProgramWithSource"] == 1);
}

TEST_CASE("whatever OpenCL call fails, the error names it or nothing is amiss") {
  auto device = exact_device();
  if (!device) return;
  const Golden golden = Golden::load("gemma3_swa", "q8_0");
  const OpenClRunnerOptions options = exact_options();
  const std::vector<TokenId> prompt(golden.input_ids.begin(), golden.input_ids.begin() + 5);
  const opencl::Platform platform = device->platform;
  const auto run = [&]() -> gemma::Status {
    GEMMA_TRY_ASSIGN(std::unique_ptr<Runner> runner, try_runner(golden.model, *device, options));
    Rows rows;
    GEMMA_TRY(read(*runner, prompt, 1, rows));
    GEMMA_TRY(read(*runner, {7}, 1, rows));
    return {};
  };
  device->platform = with_fault(platform, "", 0, 0);
  REQUIRE(run().ok());
  const std::map<std::string, int> counts = fault_state().calls;
  // Losing one of these costs memory or time.
  const std::map<std::string, gemma::ErrorCode> codes = {
      {"clCreateBuffer", gemma::ErrorCode::out_of_memory},
      {"clCreateProgramWithSource", gemma::ErrorCode::build_failed},
      {"clBuildProgram", gemma::ErrorCode::build_failed},
      {"clCreateKernel", gemma::ErrorCode::build_failed},
      {"clGetKernelWorkGroupInfo", gemma::ErrorCode::build_failed}};
  const std::vector<std::string> harmless = {
      "clReleaseContext", "clReleaseCommandQueue", "clReleaseMemObject", "clReleaseProgram",
      "clReleaseKernel", "clGetProgramInfo", "clCreateProgramWithBinary"};
  for (const auto& entry : counts) {
    const std::string& name = entry.first;
    const int count = entry.second;
    for (const int nth : {1, 2, count / 3, 2 * count / 3, count - 1, count}) {
      if (nth < 1 || nth > count) continue;
      CAPTURE(name);
      CAPTURE(nth);
      device->platform = with_fault(platform, name, nth, opencl::kOutOfResources);
      const gemma::Status status = run();
      const bool can_go_on =
          std::find(harmless.begin(), harmless.end(), name) != harmless.end() ||
          (name == "clBuildProgram" && counts.count("clCreateProgramWithSource") == 0);
      if (can_go_on) {
        CHECK_MESSAGE(status.ok(), status.error().message());
        continue;
      }
      REQUIRE_FALSE(status.ok());
      const std::string& message = status.error().message();
      CAPTURE(message);
      const auto code = codes.find(name);
      CHECK(status.error().code() ==
            (code == codes.end() ? gemma::ErrorCode::backend : code->second));
      CHECK(message.find(name) != std::string::npos);
      CHECK(message.find("CL_OUT_OF_RESOURCES") != std::string::npos);
      CHECK(message.find(device->name) != std::string::npos);
    }
  }
}
