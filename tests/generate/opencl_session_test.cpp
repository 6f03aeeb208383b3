#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "gemma/formats/gguf.hpp"
#include "gemma/generate/adapter.hpp"
#include "gemma/generate/session.hpp"
#include "generate/lora.hpp"
#include "generate/mediapipe_file.hpp"
#include "temp_folder.hpp"
#include "test_data.hpp"

#if defined(GEMMA_OPENCL)

namespace {

using gemma::Backend;
using gemma::ErrorCode;
using gemma::GenerateOptions;
using gemma::Session;
using gemma::SessionOptions;
using gemma::Span;
using gemma::TokenId;

gemma::Model tiny() { return gemma::load(data_path("tiny-gemma3.gguf")); }

/// Options for any OpenCL device, with a folder of their own.
SessionOptions options_of(Backend backend, const TempFolder& folder) {
  SessionOptions options;
  options.context = 64;
  options.batch = 16;
  options.threads = 1;
  options.backend = backend;
  options.opencl.allow_cpu = true;
  options.opencl.cache_folder = folder.path();
  return options;
}

/// Whether any device can be used here.
bool has_device(const SessionOptions& options) {
  return choose_opencl_device(with_environment(options.opencl), {1, {}}).chosen >= 0;
}

GenerateOptions greedy() {
  GenerateOptions options;
  options.max_tokens = 16;
  options.sampler.temperature = 0.0f;
  options.ignore_eos = true;
  return options;
}

const std::vector<TokenId> kPrompt = {2, 10, 20, 30, 40};

Span<const TokenId> prompt() { return Span<const TokenId>(kPrompt); }

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("an OpenCL device writes what the CPU writes") {
  const TempFolder folder;
  const SessionOptions options = options_of(Backend::opencl, folder);
  if (!has_device(options)) {
    MESSAGE("skipped: no OpenCL device here");
    return;
  }
  const gemma::Model model = tiny();
  Session cpu(model, options_of(Backend::cpu, folder));
  Session device(model, options);
  CHECK(contains(device.backend(), "opencl: "));
  CHECK(contains(device.backend_reason(), "asked for; "));
  CHECK(cpu.backend() == "cpu");
  CHECK(cpu.backend_reason() == "asked for");
  CHECK(cpu.devices().empty());
  const auto want = cpu.generate(prompt(), {}, greedy());
  CHECK(device.generate(prompt(), {}, greedy()).ids == want.ids);

  // The same through the rows of logits, and with guesses that are checked in batches.
  device.reset();
  GenerateOptions filtered = greedy();
  std::size_t rows = 0;
  filtered.logit_filter = [&](Span<float> logits) {
    CHECK(logits.size() == model.config().vocab_size);
    ++rows;
  };
  CHECK(device.generate(prompt(), {}, filtered).ids == want.ids);
  CHECK(rows == want.ids.size());
  device.reset();
  GenerateOptions drafted = greedy();
  drafted.draft_tokens = 3;
  CHECK(device.generate(prompt(), {}, drafted).ids == want.ids);

  // A conversation goes on where it ended.
  const auto more = cpu.generate(prompt(), {}, greedy());
  CHECK(device.generate(prompt(), {}, greedy()).ids == more.ids);
}

TEST_CASE("integers with a scale for each row, which kernels do not know, stay on the CPU") {
  const TempFolder folder;
  const SessionOptions options = options_of(Backend::automatic, folder);
  if (!has_device(options)) {
    MESSAGE("skipped: no OpenCL device here");
    return;
  }
  const MediapipeFile file(gemma::load(data_path("golden/gemma3_swa/model-q8_0.gguf")), {});
  const gemma::Model model = gemma::load_bytes(file.builder.build(), "m.bin");
  Session session(model, options);
  CHECK(session.backend() == "cpu");
  REQUIRE_FALSE(session.devices().empty());
  CHECK(session.devices()[0].verdict == gemma::Verdict::unsupported_model);
  CHECK(contains(session.devices()[0].reason, "there are no kernels for I8 weights"));
  Session cpu(model, options_of(Backend::cpu, folder));
  CHECK(session.generate(prompt(), {}, greedy()).ids == cpu.generate(prompt(), {}, greedy()).ids);
  const auto insisting = Session::create(model, options_of(Backend::opencl, folder));
  REQUIRE_FALSE(insisting.ok());
  CHECK(contains(insisting.error().message(), "there are no kernels for I8 weights"));
}

TEST_CASE("a session's last layers can run on a device, and its first ones on the CPU") {
  const TempFolder folder;
  SessionOptions options = options_of(Backend::opencl, folder);
  if (!has_device(options)) {
    MESSAGE("skipped: no OpenCL device here");
    return;
  }
  const gemma::Model model = tiny();
  const std::size_t layers = model.config().layers.size();
  const std::uint64_t whole = plan_opencl_memory(model, options).total();
  Session cpu(model, options_of(Backend::cpu, folder));
  const auto want = cpu.generate(prompt(), {}, greedy()).ids;
  options.opencl.gpu_layers = layers - 1;
  CHECK(plan_opencl_memory(model, options).total() < whole);
  Session divided(model, options);
  const std::string some = std::to_string(layers - 1) + " of " + std::to_string(layers) + " layers";
  CHECK(contains(divided.backend(), " with " + some));
  CHECK(contains(divided.backend_reason(), "gets " + some));
  CHECK(divided.generate(prompt(), {}, greedy()).ids == want);

  options.opencl.gpu_layers = layers + 1;
  CHECK_FALSE(contains(Session(model, options).backend(), " layers"));

  options.opencl.gpu_layers = 0;
  const auto none = Session::create(model, options);
  REQUIRE_FALSE(none.ok());
  CHECK(none.error().message() == "the OpenCL backend cannot be used: gpu_layers is 0; choose other "
                                  "gpu_layers, or the CPU");
  options.backend = Backend::automatic;
  Session automatic(model, options);
  CHECK(automatic.backend() == "cpu");
  CHECK(automatic.backend_reason() == "gpu_layers is 0");
}

TEST_CASE("tokens that a device draws without waiting are those it draws one by one") {
  const TempFolder folder;
  const SessionOptions options = options_of(Backend::opencl, folder);
  if (!has_device(options)) {
    MESSAGE("skipped: no OpenCL device here");
    return;
  }
  const gemma::Model model = tiny();
  Session single(model, options);
  GenerateOptions one = greedy();
  one.max_tokens = 1000;  // to the end of the context
  const gemma::GenerateResult want = single.generate(prompt(), {}, one);
  CHECK(want.stop == gemma::StopReason::context_full);
  for (const std::size_t steps : {2u, 3u, 7u, 1000u}) {
    CAPTURE(steps);
    Session session(model, options);
    GenerateOptions together = one;
    together.steps_per_sync = steps;
    CHECK(session.generate(prompt(), {}, together).ids == want.ids);
    // Ends in the midst of what was drawn together are no matter for what follows.
    session.reset();
    together.max_tokens = 11;
    std::size_t pieces = 0;
    std::vector<TokenId> ids = session.generate(prompt(), [&](std::string_view) {
      return ++pieces < 5;
    }, together).ids;
    CHECK(ids.size() < 11);
    while (ids.size() < 40) {
      const std::vector<TokenId> more = session.generate("", {}, together).ids;
      ids.insert(ids.end(), more.begin(), more.end());
    }
    CHECK(ids == std::vector<TokenId>(want.ids.begin(), want.ids.begin() + static_cast<std::ptrdiff_t>(ids.size())));
  }
}

TEST_CASE("a device's session is cloned, saved and restored by reading its tokens again") {
  const TempFolder folder;
  const SessionOptions options = options_of(Backend::opencl, folder);
  if (!has_device(options)) {
    MESSAGE("skipped: no OpenCL device here");
    return;
  }
  const gemma::Model model = tiny();
  Session session(model, options);
  session.generate(prompt(), {}, greedy());
  Session copy = session.clone();
  CHECK(copy.backend() == session.backend());
  CHECK(copy.history() == session.history());
  CHECK(copy.position() == session.position());
  session.save(folder.path("state"));
  CHECK(session.metrics().memory.total() == model.plan(options).opencl.total());

  Session cpu(model, options_of(Backend::cpu, folder));
  cpu.restore(folder.path("state"));
  const std::vector<TokenId> want = session.generate("", {}, greedy()).ids;
  CHECK(want.size() == 16);
  CHECK(copy.generate("", {}, greedy()).ids == want);
  CHECK(cpu.generate("", {}, greedy()).ids == want);
  cpu.save(folder.path("state"));  // with keys and values, which a device does not take
  copy.restore(folder.path("state"));
  CHECK(copy.history() == cpu.history());
  CHECK(copy.generate("", {}, greedy()).ids == cpu.generate("", {}, greedy()).ids);

  gemma::LoadOptions bounded;
  bounded.max_resident_bytes = 100000000;
  const gemma::Model limited = gemma::load(data_path("tiny-gemma3.gguf"), bounded);
  CHECK(Session::create(limited, options).error().code() == ErrorCode::backend);
  SessionOptions automatic = options;
  automatic.backend = Backend::automatic;
  CHECK(Session(limited, automatic).backend() == "cpu");
}

TEST_CASE("the automatic choice says how long each takes, and what it chose") {
  const TempFolder folder;
  SessionOptions options = options_of(Backend::automatic, folder);
  if (!has_device(options)) {
    MESSAGE("skipped: no OpenCL device here");
    return;
  }
  std::vector<std::string> lines;
  options.log = [&](gemma::LogLevel, std::string_view line) { lines.emplace_back(line); };
  const gemma::Model model = tiny();
  Session timed(model, options);
  INFO(timed.backend_reason());
  CHECK(contains(timed.backend_reason(), " ms per token, the CPU "));
  CHECK(lines == std::vector<std::string>{"backend: " + timed.backend() + " (" +
                                          timed.backend_reason() + ")"});
  CHECK(timed.position() == 0);
  const auto count = [&](gemma::Verdict verdict) {
    return std::count_if(timed.devices().begin(), timed.devices().end(),
                         [&](const gemma::DeviceReport& r) { return r.verdict == verdict; });
  };
  const bool on_cpu = timed.backend() == "cpu";
  CHECK(count(gemma::Verdict::too_slow) == (on_cpu ? 1 : 0));
  CHECK(count(gemma::Verdict::chosen) == (on_cpu ? 0 : 1));
  CHECK(choose_opencl_device(model, options).chosen >= 0);
  CHECK(plan_opencl_memory(model, options).total() > 0);
  const auto want = timed.generate(prompt(), {}, greedy()).ids;

  options.opencl.time_it = false;
  Session untimed(model, options);
  CHECK(contains(untimed.backend(), "opencl: "));
  CHECK_FALSE(untimed.devices().empty());
  CHECK(untimed.generate(prompt(), {}, greedy()).ids == want);
}

TEST_CASE("without a usable device the automatic choice is the CPU, and says why") {
  const TempFolder folder;
  SessionOptions options = options_of(Backend::automatic, folder);
  options.opencl.library = "/nonexistent/libOpenCL.so";
  const gemma::Model model = tiny();
  Session session(model, options);
  CHECK(session.backend() == "cpu");
  CHECK(contains(session.backend_reason(), options.opencl.library));

  options.backend = Backend::opencl;
  const auto refused = Session::create(model, options);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code() == ErrorCode::backend);
  CHECK(contains(refused.error().message(), "the OpenCL backend cannot be used: "));
  CHECK(contains(refused.error().message(), options.opencl.library));
  CHECK(contains(refused.error().message(), "; install the OpenCL driver"));
}

TEST_CASE("a device that is denied is not used, and the error says so") {
  const TempFolder folder;
  SessionOptions options = options_of(Backend::opencl, folder);
  if (!has_device(options)) {
    MESSAGE("skipped: no OpenCL device here");
    return;
  }
  options.opencl.deny = {" | "};
  const auto refused = Session::create(tiny(), options);
  REQUIRE_FALSE(refused.ok());
  CHECK(contains(refused.error().message(), "it is denied by the entry \" | \""));
  CHECK(contains(refused.error().message(), "; change the list of devices"));
}

TEST_CASE("EmbeddingGemma's vectors are those of the CPU, whoever is chosen") {
  const TempFolder folder;
  SessionOptions options = options_of(Backend::opencl, folder);
  options.kv_type = gemma::simd::KvType::f32;
  if (!has_device(options)) {
    MESSAGE("skipped: no OpenCL device here");
    return;
  }
  const gemma::Model model = gemma::load(data_path("golden/embedding-gemma.gguf"));
  SessionOptions on_cpu = options;
  on_cpu.backend = Backend::cpu;
  const std::vector<TokenId> ids = {2, 10, 20, 30, 40, 50, 60, 1};
  const std::vector<float> want = Session(model, on_cpu).try_embed(ids).value();
  for (const Backend backend : {Backend::opencl, Backend::automatic}) {
    options.backend = backend;
    Session session(model, options);
    const std::vector<float> got = session.try_embed(ids).value();
    REQUIRE(got.size() == want.size());
    double cosine = 0.0;
    for (std::size_t i = 0; i < got.size(); ++i) cosine += double{got[i]} * double{want[i]};
    CHECK(cosine > 0.999);
    if (backend == Backend::automatic) CHECK(contains(session.backend_reason(), " ms per text, "));
  }
}

TEST_CASE("weights that are not numbers are an error on a device, too") {
  const TempFolder folder;
  SessionOptions options = options_of(Backend::opencl, folder);
  if (!has_device(options)) {
    MESSAGE("skipped: no OpenCL device here");
    return;
  }
  const std::string path = data_path("tiny-gemma3.gguf");
  const gemma::gguf::File file = gemma::gguf::File::open(path).value();
  // The scale of a block of Q8_0, as a NaN and as an infinity.
  for (const std::uint32_t bits : {0x00007E00u, 0x00007C00u}) {
    for (const char* tensor : {"blk.2.ffn_down.weight", "token_embd.weight"}) {
      CAPTURE(tensor);
      std::string bytes = file_text(path);
      const auto at = file.find_tensor(tensor)->data.data() - file.bytes().data();
      std::memcpy(&bytes[static_cast<std::size_t>(at)], &bits, sizeof bits);
      folder.write("damaged.gguf", bytes);
      Session session(gemma::load(folder.path("damaged.gguf")), options);
      REQUIRE(contains(session.backend(), "opencl: "));
      const auto text = session.try_generate(prompt(), {}, greedy());
      REQUIRE_FALSE(text.ok());
      CHECK(text.error().code() == ErrorCode::format);
      CHECK(contains(text.error().message(), "what the model computes are not numbers"));
      CHECK(session.position() == 0);
    }
  }
}

TEST_CASE("a session with adapters goes to the CPU, and says why, or what to do") {
  const TempFolder folder;
  SessionOptions options = options_of(Backend::automatic, folder);
  const gemma::Model model = tiny();
  const gemma::Adapter adapter = gemma::load_adapter_bytes(TestLora(model, {}).gguf(), "a.gguf", model);
  options.adapters = {{adapter}};
  CHECK(Session(model, options).backend() == "cpu");
  CHECK(Session(model, options).backend_reason() == "adapters are applied on the CPU only");
  options.backend = Backend::opencl;
  const auto refused = Session::create(model, options);
  REQUIRE_FALSE(refused.ok());
  const std::string sentence =
      "the OpenCL backend cannot be used: adapters are applied on the CPU only; choose the CPU, or merge the adapters";
  CHECK(contains(refused.error().message(), sentence));

  options.adapters = {};
  if (!has_device(options)) {
    MESSAGE("skipped: no OpenCL device here");
    return;
  }
  Session device(model, options);
  const auto before = device.generate(prompt(), {}, greedy()).ids;
  const gemma::Status status = device.try_set_adapters({{adapter}});
  REQUIRE_FALSE(status.ok());
  CHECK(contains(status.error().message(), sentence));
  CHECK(device.position() > 0);
  device.reset();
  CHECK(device.generate(prompt(), {}, greedy()).ids == before);
}

#endif
