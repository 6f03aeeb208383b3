#include "gemma/generate/quantize.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "gemma/model/reference.hpp"
#include "golden.hpp"
#include "huggingface_folder.hpp"
#include "temp_folder.hpp"

namespace {

using gemma::DType;
using gemma::Model;
using gemma::QuantizeOptions;
using gemma::TensorView;
using gemma::TokenId;
using gemma::find_quantize_scheme;
using gemma::quantize;

void write(const Model& model, const std::string& scheme, const std::string& path,
           const QuantizeOptions& options = {}) {
  const auto report = quantize(model, *find_quantize_scheme(scheme), path, options);
  REQUIRE_MESSAGE(report.ok(), (report ? "" : report.error().message()));
}

Rows reference_rows(const Model& model, const std::vector<TokenId>& ids) {
  gemma::reference::Model reference(model.config(), model.weights());
  const auto logits = reference.forward(ids, ids.size());
  Rows rows;
  for (std::size_t r = 0; r < logits.rows; ++r) {
    rows.emplace_back(logits.row(r), logits.row(r) + logits.cols);
  }
  return rows;
}

std::string formats_of(const Model& model, const std::string& part) {
  std::set<std::string> formats;
  for (const TensorView& tensor : model.source().tensors()) {
    if (tensor.name.find(part) != std::string::npos) {
      formats.insert(gemma::quant::dtype_name(tensor.type));
    }
  }
  std::string all;
  for (const std::string& name : formats) all += (all.empty() ? "" : " ") + name;
  return all;
}

std::string message_of(const gemma::Result<gemma::QuantizeReport>& report) {
  return report ? std::string() : report.error().message();
}

}  // namespace

TEST_CASE("folders of every family become GGUF files that give the same logits") {
  for (const std::string name : {"gemma1_mqa", "gemma2_swa", "gemma3_linear8", "gemma3n", "gemma4_e",
                                 "gemma4_dense", "gemma4_moe"}) {
    CAPTURE(name);
    FolderStyle style;
    style.tokenizer = name.compare(0, 6, "gemma4") == 0 ? "gemma4_e" : "gemma1_mqa";
    const HuggingFaceFolder folder(name, style);
    const Model before = gemma::load(folder.path());
    const TempFolder out;
    write(before, "f32", out.path("out.gguf"));
    const Model after = gemma::load(out.path("out.gguf"));
    const std::vector<TokenId> ids = Golden::load(name, "q8_0").input_ids;
    CHECK(rms_difference(reference_rows(before, ids), reference_rows(after, ids)) < 1e-5);
    // The tokenizer goes with it.
    for (const char* text : {"hello, world", "  two  spaces", "<eos> \xF0\x9F\x98\x80"}) {
      for (const bool special : {false, true}) {
        gemma::EncodeOptions encode;
        encode.parse_special = special;
        CHECK(before.tokenizer().encode(text, encode) == after.tokenizer().encode(text, encode));
      }
    }
    CHECK(before.tokenizer().add_bos() == after.tokenizer().add_bos());
    CHECK(before.stop_ids() == after.stop_ids());
  }
}

TEST_CASE("a scale of the queries that GGUF has no key for goes into the weights") {
  for (const char* config : {"config.json", "config.v5.json"}) {
    const TempFolder folder;
    const std::string source = data_path("golden/gemma2_qpas/hf/");
    folder.write("config.json", file_text(source + config));
    for (const char* file : {"model.safetensors", "tokenizer.model", "tokenizer.json"}) {
      folder.write(file, file_text(source + file));
    }
    const Model before = gemma::load(folder.path());
    write(before, "f32", folder.path("out.gguf"));
    const Model after = gemma::load(folder.path("out.gguf"));
    CHECK(after.config().attention_scale != before.config().attention_scale);
    const std::vector<TokenId> ids = {2, 40, 50, 60, 70, 80};
    CHECK(rms_difference(reference_rows(before, ids), reference_rows(after, ids)) < 1e-5);
  }
}

TEST_CASE("the fewer bits, the larger the error, and threads make no difference to the file") {
  const Golden golden = Golden::load("gemma3_swa", "f32");
  const Rows want = reference_rows(golden.model, golden.input_ids);
  const TempFolder folder;
  const struct {
    const char* scheme;
    double rms;
  } kSchemes[] = {{"f32", 1e-7}, {"f16", 0.02}, {"bf16", 0.06}, {"q8_0", 0.2},
                  {"q5_0", 1.0}, {"q4_0", 1.8}};
  double before = -1.0;
  for (const auto& limit : kSchemes) {
    const char* scheme = limit.scheme;
    CAPTURE(scheme);
    QuantizeOptions options;
    options.threads = 1;
    write(golden.model, scheme, folder.path("one.gguf"), options);
    const double error =
        rms_difference(want, reference_rows(gemma::load(folder.path("one.gguf")), golden.input_ids));
    CHECK(error >= before);
    CHECK(error < limit.rms);
    before = error;
    options.threads = 3;
    write(golden.model, scheme, folder.path("three.gguf"), options);
    CHECK(file_text(folder.path("one.gguf")) == file_text(folder.path("three.gguf")));
  }
}

TEST_CASE("matrices get the format asked for, norms stay floats") {
  const Golden golden = Golden::load("gemma3_swa", "f32");
  const TempFolder folder;
  const auto made = [&](const char* scheme, bool pure) {
    QuantizeOptions options;
    options.pure = pure;
    const std::string path = folder.path(std::string(scheme) + (pure ? "-pure.gguf" : ".gguf"));
    write(golden.model, scheme, path, options);
    return gemma::load(path);
  };
  // Rows of this model are not whole blocks of 256.
  const Model mixed = made("q4_k_m", false);
  CHECK(formats_of(mixed, "_norm") == "F32");
  CHECK(formats_of(mixed, "token_embd") == "Q8_0");
  CHECK(formats_of(mixed, "attn_q.") == "Q5_0");
  CHECK(formats_of(mixed, "ffn_down") == "Q5_0 Q8_0");
  const Model pure = made("q4_k_m", true);
  CHECK(formats_of(pure, "token_embd") == "Q5_0");
  CHECK(formats_of(pure, "ffn_down") == "Q5_0");
  CHECK(formats_of(made("q5_k", false), "attn_q.") == "Q5_1");
  CHECK(formats_of(made("q4_0", false), "attn_q.") == "Q4_0");
  CHECK(formats_of(made("bf16", false), "attn_q.") == "BF16");
}

TEST_CASE("of a GGUF file all metadata is kept, but for what tells the format") {
  const Golden golden = Golden::load("gemma3_swa", "f32");
  const TempFolder folder;
  write(golden.model, "q8_0", folder.path("out.gguf"));
  const gemma::gguf::File before = gemma::gguf::File::open(golden.model.path()).value();
  const gemma::gguf::File after = gemma::gguf::File::open(folder.path("out.gguf")).value();
  std::size_t kept = 0;
  for (const gemma::gguf::Entry& entry : before.entries()) {
    if (entry.key == "general.file_type" || entry.key == "general.quantization_version") continue;
    const gemma::gguf::Value* value = after.find(entry.key);
    REQUIRE(value != nullptr);
    CHECK(value->describe() == entry.value.describe());
    ++kept;
  }
  CHECK(after.entries().size() == kept + 2);
  CHECK(after.get_uint("general.file_type").value() == 7);
}

TEST_CASE("files that have the formats already are copied, bit by bit") {
  const Golden golden = Golden::load("gemma3_swa", "q8_0");
  const TempFolder folder;
  write(golden.model, "q8_0", folder.path("out.gguf"));
  const gemma::gguf::File before = gemma::gguf::File::open(golden.model.path()).value();
  const gemma::gguf::File after = gemma::gguf::File::open(folder.path("out.gguf")).value();
  for (const TensorView& tensor : before.tensors()) {
    const TensorView* copy = after.find_tensor(tensor.name);
    REQUIRE(copy != nullptr);
    CHECK(copy->type == tensor.type);
    CHECK(std::equal(tensor.data.begin(), tensor.data.end(), copy->data.begin(), copy->data.end()));
  }
}

TEST_CASE("to keep a model is to have its matrices in a GGUF file, to the bit") {
  const TempFolder folder;
  for (const char* from : {"kjv-small.gguf", "tiny-gemma3.gguf"}) {
    const Model model = gemma::load(data_path(from));
    REQUIRE(quantize(model, gemma::keep_scheme(), folder.path("kept.gguf")).ok());
    const Model kept = gemma::load(folder.path("kept.gguf"));
    REQUIRE(kept.source().tensors().size() == model.source().tensors().size());
    for (const TensorView& tensor : model.source().tensors()) {
      const TensorView* same = kept.source().find_tensor(tensor.name);
      REQUIRE(same != nullptr);
      CHECK(same->type == tensor.type);
      CHECK(std::equal(tensor.data.begin(), tensor.data.end(), same->data.begin(), same->data.end()));
    }
  }
  const HuggingFaceFolder source("gemma3_swa", {});
  const Model halves = gemma::load(source.path());
  REQUIRE(quantize(halves, gemma::keep_scheme(), folder.path("kept.gguf")).ok());
  const Model kept = gemma::load(folder.path("kept.gguf"));
  CHECK(formats_of(kept, "attn_q.weight") == formats_of(halves, "q_proj.weight"));
  CHECK(formats_of(kept, "_norm") == "F32");
  CHECK(find_quantize_scheme("keep") == nullptr);  // no number format
}

TEST_CASE("weights that are not numbers are refused by name, and nothing is left behind") {
  const HuggingFaceFolder folder("gemma3_swa");
  std::string bytes = file_text(folder.files().path("model.safetensors"));
  const std::string name = "model.layers.1.mlp.up_proj.weight";
  const std::size_t offsets = bytes.find("data_offsets", bytes.find('"' + name + '"'));
  const std::size_t begin = std::stoul(bytes.substr(bytes.find('[', offsets) + 1));
  std::uint64_t header;
  std::memcpy(&header, bytes.data(), sizeof header);
  const float nan = std::nanf("");
  std::memcpy(&bytes[8 + header + begin + 40], &nan, sizeof nan);
  folder.files().write("model.safetensors", bytes);
  const TempFolder out;
  for (const char* scheme : {"q8_0", "f32"}) {
    const auto report = quantize(gemma::load(folder.path()), *find_quantize_scheme(scheme),
                                 out.path("out.gguf"));
    CHECK(message_of(report) ==
          folder.path() + ": tensor '" + name + "' holds a value that is not a number");
    CHECK_FALSE(out.holds("out.gguf"));
    CHECK_FALSE(out.holds("out.gguf.part"));
  }
}

TEST_CASE("a model's own file may be replaced, but no part of several") {
  const HuggingFaceFolder folder("gemma3_swa");
  const std::string part = folder.files().path("model.safetensors");
  const gemma::QuantizeScheme& scheme = *find_quantize_scheme("q8_0");
  const std::string before = file_text(part);
  CHECK(message_of(quantize(gemma::load(folder.path()), scheme, part)) ==
        part + ": is a part of the model itself; give another name");
  CHECK(file_text(part) == before);
  const TempFolder out;
  out.write("model.gguf", file_text(data_path("tiny-gemma3.gguf")));
  gemma::LoadOptions options;
  options.access = gemma::FileAccess::map;
  const std::string path = out.path("model.gguf");
  const std::string message = message_of(quantize(gemma::load(path, options), scheme, path));
  if (gemma::kMappedFilesCanBeReplaced) {
    CHECK(message == "");
  } else {
    CHECK(message.find("model.gguf: is the model itself, ") != std::string::npos);
  }
  CHECK(gemma::try_load(out.path("model.gguf")).ok());
}

TEST_CASE("progress reaches its total, and can cancel, and nothing is left behind then") {
  const Golden golden = Golden::load("gemma3_swa", "f32");
  const TempFolder folder;
  folder.write("out.gguf", "before");
  QuantizeOptions options;
  std::uint64_t last = 0, total = 1;
  options.progress = [&](const gemma::Progress& p) {
    CHECK(p.done >= last);
    last = p.done;
    total = p.total;
    return true;
  };
  write(golden.model, "q8_0", folder.path("whole.gguf"), options);
  CHECK(last == total);
  options.progress = [&](const gemma::Progress& p) { return p.done < total / 2; };
  const auto report =
      quantize(golden.model, *find_quantize_scheme("q8_0"), folder.path("out.gguf"), options);
  REQUIRE_FALSE(report.ok());
  CHECK(report.error().code() == gemma::ErrorCode::cancelled);
  CHECK(file_text(folder.path("out.gguf")) == "before");
  CHECK_FALSE(folder.holds("out.gguf.part"));
}

TEST_CASE("schemes are found by their names, in any case, and by llama.cpp's") {
  for (const gemma::QuantizeScheme& scheme : gemma::quantize_schemes()) {
    CHECK(find_quantize_scheme(scheme.name) == &scheme);
  }
  CHECK(find_quantize_scheme("Q4_K_S") == find_quantize_scheme("q4_k"));
  CHECK(find_quantize_scheme("q4_k_l") == nullptr);
  CHECK(find_quantize_scheme("") == nullptr);
}
