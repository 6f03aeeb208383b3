// MediaPipe's weight files as models: all layouts and widths give the numbers they were made of, and
// the same text as those numbers in a GGUF file.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "gemma/formats/safetensors.hpp"
#include "gemma/generate/huggingface.hpp"
#include "gemma/generate/mediapipe_bin.hpp"
#include "gemma/generate/model.hpp"
#include "generate/mediapipe_file.hpp"
#include "generate/same_model.hpp"
#include "mediapipe_samples.hpp"
#include "temp_folder.hpp"
#include "test_data.hpp"

using namespace gemma;

namespace {

constexpr const char* kModels[] = {"gemma1_mqa", "gemma1_mha", "gemma2_swa", "gemma3_swa", "gemma3_linear8"};

std::vector<MediapipeStyle> styles() {
  std::vector<MediapipeStyle> all;
  for (const bool gpu : {false, true}) {
    for (const bool symmetric : {true, false}) {
      all.push_back({gpu, 8, 8, 8, symmetric, true, ".w"});
      all.push_back({gpu, 4, 4, 4, symmetric, true, ".w"});
      all.push_back({gpu, 8, 4, 4, symmetric, true, ".w"});
    }
  }
  return all;
}

Result<Model> load_from(const MediapipeFile& file, const LoadOptions& options = {}) {
  return try_load_bytes(file.builder.build(), "m.bin", options);
}

std::string refusal(const TflBuilder& builder) {
  const Result<Model> model = try_load_bytes(builder.build(), "m.bin");
  if (model.ok()) return "(accepted)";
  CHECK(model.error().message().rfind("m.bin: ", 0) == 0);
  return model.error().message();
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}
#define CHECK_CONTAINS(text, part) CHECK_MESSAGE(contains(text, part), (text))

/// The file, as it lies on the disk.
void write(const TempFolder& folder, const std::string& name, const ByteVector& bytes) {
  folder.write(name, std::string(bytes.begin(), bytes.end()));
}

/// A small file of the samples. Its tokenizer puts a space before texts, as no Gemma's does: that is
/// written over the end of a table that no Gemma has either.
ByteVector sample(const std::string& path) {
  const std::string text = file_text(path);
  ByteVector bytes(text.begin(), text.end());
  const tfl::File file = tfl::File::from_bytes(Bytes(bytes), path).value();
  const Bytes spm = file.metadata("spm_vocab_model").value();
  const auto begin = static_cast<std::size_t>(spm.data() - bytes.data());
  const std::uint8_t table[] = {0x12, 0x87, 0xD3, 0x0E};  // field 2 of 240,007 bytes
  const auto first = bytes.begin() + static_cast<std::ptrdiff_t>(begin);
  const auto found = std::search(first, bytes.end(), std::begin(table), std::end(table));
  REQUIRE(found != bytes.end());
  found[1] -= 2;
  bytes[begin + spm.size() - 2] = 3 << 3;
  bytes[begin + spm.size() - 1] = 0;
  return bytes;
}

/// Every number differs from the checkpoint's by half a step of its row at most.
void check_checkpoint(const Model& model, const std::string& folder) {
  const auto checkpoint = safetensors::Folder::open(folder).value();
  std::size_t numbers = 0;
  double worst = 0.0;
  for (const std::string& name : model.source().gguf_names()) {
    const std::string own = "model." + huggingface::tensor_name(name, model.config().family);
    const TensorView* original = checkpoint.find_tensor(own);
    REQUIRE_MESSAGE(original != nullptr, own);
    const WeightMatrix a = matrix_of(*model.source().find_tensor(name)), b = matrix_of(*original);
    REQUIRE(a.rows == b.rows);
    REQUIRE(a.cols == b.cols);
    std::vector<float> x(a.cols), y(a.cols);
    for (std::size_t r = 0; r < a.rows; ++r) {
      quant::decode_row(a, r, x.data());
      quant::decode_row(b, r, y.data());
      if (a.row_scale == nullptr) CHECK(x == y);
      for (std::size_t c = 0; c < a.cols && a.row_scale != nullptr; ++c, ++numbers) {
        worst = (std::max)(worst, std::abs(double{x[c]} - double{y[c]}) / double{a.row_scale[r]});
      }
    }
  }
  CHECK(numbers > 50000);
  CHECK(worst <= 0.5 + 1e-3);
}

void check_same_integers(const std::string& folder) {
  const auto cpu = mediapipe::Source::open(folder + "mini_GEMMA_2B_cpu_int8.bin").value();
  const auto gpu = mediapipe::Source::open(folder + "mini_GEMMA_2B_gpu_int8.bin").value();
  for (const std::string& name : cpu.gguf_names()) {
    const Bytes a = cpu.find_tensor(name)->data, b = gpu.find_tensor(name)->data;
    CHECK(std::equal(a.begin(), a.end(), b.begin(), b.end()));
  }
}

/// Calls f(source, style) for each model in each style.
template <class F>
void for_every_style(const F& f) {
  for (const char* name : kModels) {
    const Model source = golden(name);
    for (const MediapipeStyle& style : styles()) {
      CAPTURE(name);
      CAPTURE(style.gpu);
      CAPTURE(style.ffn_bits);
      CAPTURE(style.symmetric);
      f(source, style);
    }
  }
}

}  // namespace

TEST_CASE("weights of every layout and width are those that the file was made of") {
  for_every_style([&](const Model& source, const MediapipeStyle& style) {
    const MediapipeFile file(source, style);
    CHECK(file.worst_error <= 0.5 + 1e-4);
    const auto model = load_from(file);
    REQUIRE_MESSAGE(model.ok(), model.error().message());
    CHECK(model->config().family == source.config().family);
    CHECK(model->source().format() == (style.gpu ? "MediaPipe weights for GPUs" : "MediaPipe weights for CPUs"));
    CHECK(difference(source.config(), file.weights(), model->config(), model->weights()) == 0.0);
  });
}

TEST_CASE("files for CPUs and for GPUs of the same model hold identical integers") {
  for (const int bits : {8, 4}) {
    const Model source = golden("gemma2_swa");
    const auto cpu = load_from(MediapipeFile(source, {false, bits, bits, bits, true, true, ".w"}));
    const auto gpu = load_from(MediapipeFile(source, {true, bits, bits, bits, true, false, ".linear.w"}));
    REQUIRE(cpu.ok());
    REQUIRE_MESSAGE(gpu.ok(), gpu.error().message());
    std::size_t compared = 0;
    for (const std::string& name : cpu->source().gguf_names()) {
      const Bytes a = cpu->source().find_tensor(name)->data, b = gpu->source().find_tensor(name)->data;
      CHECK(std::equal(a.begin(), a.end(), b.begin(), b.end()));
      compared += a.size();
    }
    CHECK(compared > 30000);
  }
}

TEST_CASE("a weight file writes the text of the same weights in a GGUF file") {
  const TempFolder folder;
  for_every_style([&](const Model& source, const MediapipeStyle& style) {
    write(folder, "m.bin", MediapipeFile(source, style).builder.build());
    const Model model = load(folder.path("m.bin"));
    check_text(model);
  });
}

TEST_CASE("converted to GGUF, integers stay what they are, and only their scales are rounded") {
  const TempFolder folder;
  for_every_style([&](const Model& source, const MediapipeStyle& style) {
    write(folder, "m.bin", MediapipeFile(source, style).builder.build());
    const Model model = load(folder.path("m.bin"));
    REQUIRE(quantize(model, keep_scheme(), folder.path("m.gguf")).ok());
    const Model converted = load(folder.path("m.gguf"));
    double worst = 0.0;
    for (const std::string& name : model.source().gguf_names()) {
      const WeightMatrix a = matrix_of(*model.source().find_tensor(name));
      const WeightMatrix b = matrix_of(*converted.source().find_tensor(name));
      if (a.row_scale == nullptr) continue;
      const bool zeros = a.row_zero != nullptr;
      const DType want = a.type == DType::I4 ? (zeros ? DType::Q4_1 : DType::Q4_0)
                                             : (zeros ? DType::F16 : DType::Q8_0);
      CHECK(b.type == want);
      std::vector<float> x(a.cols), y(a.cols);
      for (std::size_t r = 0; r < a.rows; ++r) {
        quant::decode_row(a, r, x.data());
        quant::decode_row(b, r, y.data());
        for (std::size_t c = 0; c < a.cols; ++c) {
          // Of Q4_1, scale times code and minimum are rounded one by one.
          const double both = double{a.row_scale[r]} * (15 + 8 + std::abs(zeros ? double{a.row_zero[r]} : 0.0));
          const double allowed = want == DType::Q4_1 ? both : std::abs(double{x[c]});
          worst = (std::max)(worst, std::abs(double{x[c]} - double{y[c]}) - allowed / 2048);
        }
      }
    }
    CHECK(worst <= 127 * 3e-8);  // half of the smallest step of halves
  });
}

TEST_CASE("weights for CPUs are used in place, those for GPUs are laid out anew with progress") {
  const TempFolder folder;
  const Model source = golden("gemma3_swa");
  write(folder, "cpu.bin", MediapipeFile(source, {}).builder.build());
  write(folder, "gpu.bin", MediapipeFile(source, {true, 8, 4, 8, true, true, ".w"}).builder.build());
  std::vector<std::uint64_t> done;
  std::uint64_t total = 0;
  LoadOptions options;
  options.access = FileAccess::map;
  options.progress = [&](const Progress& p) {
    CHECK(p.step == "load");
    done.push_back(p.done);
    total = p.total;
    return true;
  };
  const Model cpu = load(folder.path("cpu.bin"), options);
  CHECK(done.empty());
  CHECK_FALSE(cpu.source().holds_copies());
  const Model gpu = load(folder.path("gpu.bin"), options);
  CHECK(gpu.source().holds_copies());
  CHECK(done.size() == 1 + 7 * source.config().layers.size());
  CHECK(std::is_sorted(done.begin(), done.end()));
  CHECK(done.back() == total);

  // Once, however the weights are wanted.
  for (const FileAccess access : {FileAccess::memory, FileAccess::fastest}) {
    done.clear();
    options.access = access;
    CHECK(greedy(load(folder.path("gpu.bin"), options), 1) == greedy(gpu, 1));
    CHECK(done.size() == 1 + 7 * source.config().layers.size());
    CHECK(greedy(load(folder.path("cpu.bin"), options), 1) == greedy(cpu, 1));
  }

  options.progress = [](const Progress&) { return false; };
  const auto cancelled = try_load(folder.path("gpu.bin"), options);
  REQUIRE_FALSE(cancelled.ok());
  CHECK(cancelled.error().code() == ErrorCode::cancelled);
}

TEST_CASE("constants that files leave out come from the type of the model") {
  mediapipe::LlmParameters p;
  p.vocab_size = 1000;
  p.width = 2688;
  p.ffn_width = 64;
  p.head_dim = 128;
  p.heads = 16;
  p.layers = 12;
  p.activation = 1;
  const auto config = [&](std::uint32_t type) { return mediapipe::read_config(type, p, "m.bin").value(); };
  const Config one = config(6);
  CHECK(one.family == Family::gemma1);
  CHECK(one.layers[0].kv_heads == 16);
  CHECK(one.layers[0].window == 0);
  CHECK(one.attention_scale == doctest::Approx(1.0 / std::sqrt(128.0)));
  CHECK(one.final_softcap == 0.0f);
  const Config two = config(18);
  CHECK(two.layers[0].window == 4096);
  CHECK(two.layers[1].window == 0);
  CHECK(two.attention_softcap == 50.0f);
  CHECK(two.final_softcap == 30.0f);
  const Config three = config(30);
  CHECK(three.layers[4].window == 1024);
  CHECK(three.layers[4].rope_base == 10000.0f);
  CHECK(three.layers[4].rope_scale == 1.0f);
  CHECK(three.layers[5].window == 0);
  CHECK(three.layers[5].rope_base == 1000000.0f);
  CHECK(three.layers[5].rope_scale == 8.0f);
  CHECK(three.attention_scale == doctest::Approx(1.0 / std::sqrt(168.0)));
  CHECK(config(27).layers[0].window == 512);
  CHECK(config(38).layers[5].rope_scale == 1.0f);
  p.window = 256;
  p.local_per_global = 2;
  p.rope_base = 20000.0f;
  CHECK(config(27).layers[0].window == 256);
  CHECK(config(27).layers[2].window == 0);
  CHECK(config(27).layers[2].rope_base == 20000.0f);

  const auto error = [&](std::uint32_t type) {
    const auto result = mediapipe::read_config(type, p, "m.bin");
    return result.ok() ? std::string() : result.error().message();
  };
  CHECK_CONTAINS(error(11), "m.bin: holds a model of type 11, which is not one this version runs (6 GEMMA_2B");
  p.activation = 2;
  CHECK_CONTAINS(error(6), "LlmParameters has activation 2, expected 1 (GELU)");
  p.activation = 1;
  p.layers = 10001;
  CHECK_CONTAINS(error(6), "num_stacks is 10001; no model has that many layers");
  p.layers = std::uint64_t{1} << 40;
  CHECK_CONTAINS(error(6), "num_stacks is 1099511627776; no size of a model is that large");
}

TEST_CASE("answers end where the file says, and at the end of a turn, which files forget") {
  const auto model = load_from(MediapipeFile(golden("gemma1_mqa"), {}));
  REQUIRE(model.ok());
  const Tokenizer& t = model->tokenizer();
  CHECK(t.bos() == 2);
  CHECK(model->is_stop(*t.find("<eos>")));
  REQUIRE(t.find("<end_of_turn>").has_value());
  CHECK(model->is_stop(*t.find("<end_of_turn>")));
  CHECK(model->chat_format() == ChatFormat::gemma1);
  // Nobody can end a turn by writing so.
  for (const TokenId id : t.encode("a<end_of_turn>b")) CHECK(id != *t.find("<end_of_turn>"));
}

TEST_CASE("damaged weights are found by their sums, and named") {
  MediapipeFile file(golden("gemma1_mqa"), {true, 8, 4, 8, true, true, ".w"});
  const std::string up = "params.lm.transformer.x_layers_2.ff_layer.ffn_layer1.w";
  file.builder.find(up).data[100] ^= 0x10;
  const std::string message = refusal(file.builder);
  CHECK_CONTAINS(message, "m.bin: tensor '" + up + "' is damaged: the integers of row ");
  CHECK_CONTAINS(message, "download the file again");
}

TEST_CASE("what a weight file lacks, or has in another size, is named") {
  const Model source = golden("gemma1_mqa");
  const std::string q = "params.lm.transformer.x_layers_1.self_attention.q.w";
  const auto broken = [&](bool gpu, const std::function<void(TflBuilder&)>& spoil) {
    MediapipeFile file(source, {gpu, 8, 8, 8, true, true, ".w"});
    spoil(file.builder);
    return refusal(file.builder);
  };
  const auto without = [&](const std::string& name) {
    return broken(false, [&](TflBuilder& b) { b.find(name).name = "something else"; });
  };
  CHECK_CONTAINS(without(q), "m.bin: tensor '" + q + "' is missing");
  CHECK_CONTAINS(without(q + "_quantized_scale"), "tensor '" + q + "_quantized_scale' is missing");
  CHECK_CONTAINS(without("params.lm.final_ln.scale"), "tensor 'params.lm.final_ln.scale' is missing");
  CHECK_CONTAINS(broken(true, [&](TflBuilder& b) { b.find(q).data.resize(2 * 128 * 64); }),
                 "tensor '" + q + "' has 16384 bytes, expected 128 x 64 integers of 8 or 4 bits; MediaPipe's "
                 "converter leaves such a file behind");
  CHECK_CONTAINS(broken(false, [&](TflBuilder& b) { b.find(q).shape = {64, 128}; }), "has another shape than 128 x 64");
  CHECK_CONTAINS(broken(false, [&](TflBuilder& b) { b.find(q + "_quantized_scale").data.pop_back(); }),
                 "has 511 bytes, expected 512, a float32 number for each of 128 rows");
  CHECK_CONTAINS(broken(false, [&](TflBuilder& b) {
    std::memset(b.find(q + "_quantized_scale").data.data(), 0xFF, 4);
  }), "_quantized_scale' holds a value that is not a number");
  CHECK_CONTAINS(broken(true, [&](TflBuilder& b) { b.find(q + ".sum_i").data.pop_back(); }),
                 "tensor '" + q + ".sum_i' has 511 bytes, expected 512");
  CHECK_CONTAINS(broken(false, [&](TflBuilder& b) { b.find("params.lm.final_ln.scale").data.pop_back(); }),
                 "has 255 bytes, expected 256 for 64 float32 numbers");
  CHECK_CONTAINS(broken(false, [](TflBuilder& b) { b.metadata[3].data = bytes_of_text("npu"); }),
                 "metadata 'backend' is 'npu', expected 'cpu' or 'gpu'");
  CHECK_CONTAINS(broken(false, [](TflBuilder& b) { b.metadata.erase(b.metadata.begin()); }),
                 "is a TFLite file without the metadata 'odml.infra.proto.LlmParameters'");
  CHECK_CONTAINS(broken(false, [](TflBuilder& b) { b.metadata.push_back({"lora_rank", 4, {}}); }),
                 "is a LoRA adapter, not a model");
  CHECK_CONTAINS(broken(false, [](TflBuilder& b) { b.operators = 1; }), "is a TFLite graph without a tokenizer");
  CHECK_CONTAINS(broken(false, [](TflBuilder& b) { b.metadata[1].data = bytes_of_text("no tokenizer"); }),
                 "m.bin: metadata 'spm_vocab_model'");
  // Both may be left out.
  CHECK(broken(false, [](TflBuilder& b) { b.metadata.resize(2); }) == "(accepted)");
  CHECK(broken(true, [](TflBuilder& b) { b.metadata.resize(2); }) == "(accepted)");
}

TEST_CASE("files that are no weight files are told what they are") {
  const TempFolder folder;
  const auto error = [&](const std::string& text) {
    folder.write("m", text);
    const auto source = open_model(folder.path("m"));
    REQUIRE_FALSE(source.ok());
    CHECK_CONTAINS(source.error().message(), "accepted are GGUF files, MediaPipe's weight files");
    return source.error().message();
  };
  CHECK_CONTAINS(error("<!DOCTYPE html>"), "is not a model this version reads, it begins with '<!DOCTYPE html>': a web page");
  CHECK_CONTAINS(error("PK\x03\x04...word/document.xml..."), ": a zip archive");
}

TEST_CASE("a weight file with any bit of its head flipped is refused or runs") {
  for (const bool gpu : {false, true}) {
    MediapipeFile file(golden("gemma3_swa"), {gpu, 8, 4, 8, true, true, ".w"});
    ByteVector bytes = file.builder.build();
    // Tables, then the parameters.
    const std::size_t head = 200 + static_cast<std::size_t>(
        tfl::File::from_bytes(Bytes(bytes), "m").value().metadata("odml.infra.proto.LlmParameters")->data() -
        bytes.data());
    std::size_t refused = 0, tried = 0;
    for (std::size_t bit = 0; bit < 8 * head; bit += 7) {
      CAPTURE(bit);
      bytes[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
      const auto model = try_load_bytes(Bytes(bytes), "m.bin");
      ++tried;
      refused += !model.ok();
      if (model.ok() && tried % 16 == 0) run_or_refuse(*model);
      bytes[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
    }
    CHECK(refused > tried / 4);
  }
}

TEST_CASE("samples of another writer hold the checkpoint that they were made of") {
  const std::string folder = data_path("mediapipe/");
  for (const char* name : {"mini_GEMMA_2B_cpu_int8", "mini_GEMMA_2B_gpu_int8", "mini_GEMMA_2B_gpu_int4"}) {
    CAPTURE(name);
    const Model model = load(folder + name + ".bin");
    CHECK(model.config().family == Family::gemma1);
    check_checkpoint(model, folder + "mini_GEMMA_2B_ckpt");
    check_text(model);
  }
  check_text(load(folder + "mini_GEMMA2_2B_cpu_int4.bin"));
  check_text(load(folder + "mini_GEMMA3_1B_gpu_int4.bin"));
  check_same_integers(folder);
}

TEST_CASE("all samples hold the checkpoints that they were made of") {
  const std::string folder = mediapipe_samples("mini_GEMMA_2B_cpu_int8.bin");
  if (folder.empty()) return;
  const struct {
    const char* name;
    const char* checkpoint;
    Family family;
  } kSamples[] = {{"mini_GEMMA_2B_cpu_int8", "mini_GEMMA_2B_ckpt", Family::gemma1},
                  {"mini_GEMMA_2B_gpu_int8", "mini_GEMMA_2B_ckpt", Family::gemma1},
                  {"mini_GEMMA_2B_gpu_int4", "mini_GEMMA_2B_ckpt", Family::gemma1},
                  {"mini_GEMMA2_2B_cpu_int4", "mini_GEMMA2_2B_ckpt", Family::gemma2},
                  {"mini_GEMMA2_2B_gpu_int8", "mini_GEMMA2_2B_ckpt", Family::gemma2},
                  {"mini_GEMMA3_1B_cpu_int8", "mini_GEMMA3_1B_ckpt", Family::gemma3},
                  {"mini_GEMMA3_1B_gpu_int4", "mini_GEMMA3_1B_ckpt", Family::gemma3}};
  const TempFolder temp;
  for (const auto& s : kSamples) {
    CAPTURE(s.name);
    write(temp, "m.bin", sample(folder + s.name + ".bin"));
    const Model model = load(temp.path("m.bin"));
    CHECK(model.config().family == s.family);
    check_checkpoint(model, folder + s.checkpoint);
    check_text(model);
  }
  check_same_integers(folder);
}
