// MediaPipe's container: what is written is read, and what is wrong is refused with a message that
// says so.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "formats/tfl_builder.hpp"
#include "gemma/base/bytes.hpp"
#include "gemma/formats/file_kind.hpp"
#include "gemma/formats/inflate.hpp"
#include "gemma/formats/llm_parameters.hpp"
#include "gemma/formats/tfl_container.hpp"
#include "mediapipe_samples.hpp"
#include "temp_folder.hpp"

using namespace gemma;

namespace {

Result<tfl::File> read(const ByteVector& bytes) {
  return tfl::File::from_bytes(Bytes(bytes), "test.bin");
}

/// What gzip packed, with a name: 10 bytes, the name and its zero, the stream, 8 bytes of which the last 4 are
/// the size (RFC 1952).
std::string unzipped(const std::string& file) {
  const std::size_t begin = file.find('\0', 10) + 1;
  const Bytes all = bytes_of(file);
  const auto size = load_le<std::uint32_t>(all.end() - 4);
  const auto text = inflate(all.subspan(begin, all.size() - begin - 8), size, "gzip").value();
  return std::string(text.data(), text.data() + text.size());
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}
#define CHECK_CONTAINS(text, part) CHECK_MESSAGE(contains(text, part), (text))

std::string refusal(const ByteVector& bytes) {
  const Result<tfl::File> file = read(bytes);
  if (file.ok()) return "(accepted)";
  CHECK(file.error().message().rfind("test.bin: ", 0) == 0);
  return file.error().message();
}

TflBuilder sample() {
  TflBuilder b;
  b.metadata.push_back({"text", 0, bytes_of_text("cpu")});
  b.metadata.push_back({"number", 18, {}});
  b.tensors.push_back({"matrix", 9, {3, 32}, ByteVector(96, 7)});
  b.tensors.push_back({"norm", 0, {5}, ByteVector(20, 1)});
  return b;
}

/// Uses all that an accepted file offers, so that a sanitizer sees any view out of bounds.
std::uint64_t touch(const tfl::File& file) {
  std::uint64_t sum = file.graph_name().size();
  for (const tfl::Tensor& tensor : file.tensors()) {
    for (const std::uint8_t byte : tensor.data) sum += byte;
    sum += file.find_tensor(tensor.name)->shape.size();
  }
  for (const char* key : {"text", "number"}) {
    const Result<Bytes> bytes = file.metadata(key);
    if (!bytes.ok()) continue;
    for (const std::uint8_t byte : *bytes) sum += byte;
  }
  return sum;
}

}  // namespace

TEST_CASE("tensors and metadata of a container come back as written") {
  const ByteVector bytes = sample().build();
  const auto file = read(bytes);
  REQUIRE_MESSAGE(file.ok(), file.error().message());
  CHECK(file->graph_name() == "GEMMA_2B");
  CHECK_FALSE(file->is_graph());
  REQUIRE(file->tensors().size() == 2);
  const tfl::Tensor* matrix = file->find_tensor("matrix");
  REQUIRE(matrix != nullptr);
  CHECK(matrix->type == tfl::TensorType::i8);
  CHECK(matrix->shape == std::vector<std::uint64_t>{3, 32});
  CHECK(matrix->data.size() == 96);
  CHECK(std::all_of(matrix->data.begin(), matrix->data.end(), [](std::uint8_t b) { return b == 7; }));
  CHECK(file->find_tensor("norm")->type == tfl::TensorType::f32);
  CHECK(file->find_tensor("other") == nullptr);
  const Result<Bytes> text = file->metadata("text");
  REQUIRE(text.ok());
  CHECK(std::string(text->begin(), text->end()) == "cpu");
  CHECK(file->metadata_number("number") == 18u);
  CHECK_FALSE(file->metadata_number("other").has_value());
  CHECK_CONTAINS(file->metadata("other").error().message(), "test.bin: metadata 'other' is missing");
  CHECK_CONTAINS(file->metadata("number").error().message(), "is in buffer 18 of 4");
}

TEST_CASE("a graph is told from a container, and its tensors are left alone") {
  TflBuilder b = sample();
  b.operators = 1;
  const ByteVector bytes = b.build();
  const auto file = read(bytes);
  REQUIRE(file.ok());
  CHECK(file->is_graph());
  CHECK(file->tensors().empty());
}

TEST_CASE("a container cut anywhere is refused or read, and never crashes") {
  const ByteVector whole = sample().build();
  const std::size_t payloads = whole.size() - 64 - 128 - 64;
  for (std::size_t size = 0; size < whole.size(); ++size) {
    CAPTURE(size);
    // A buffer of its own, so that a sanitizer sees what is behind the end.
    const ByteVector cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    const auto file = read(cut);
    if (file.ok()) touch(*file);
    if (size < payloads) CHECK_FALSE(file.ok());
  }
  CHECK_CONTAINS(refusal(ByteVector(whole.begin(), whole.end() - 1)),
                 "tensor 'norm' of 20 bytes at offset");
  CHECK_CONTAINS(refusal(ByteVector(whole.begin(), whole.end() - 1)), "is the download complete?");
}

TEST_CASE("a container with any bit flipped is refused or read, and never crashes") {
  ByteVector bytes = sample().build();
  std::size_t refused = 0;
  for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    CAPTURE(bit);
    const auto flip = static_cast<std::uint8_t>(1 << bit % 8);
    bytes[bit / 8] ^= flip;
    const auto file = read(bytes);
    refused += !file.ok();
    if (file.ok()) touch(*file);
    bytes[bit / 8] ^= flip;
  }
  CHECK(refused > bytes.size());
}

TEST_CASE("what a container claims beyond reason is refused") {
  TflBuilder twice = sample();
  twice.tensors.push_back(twice.tensors[0]);
  CHECK_CONTAINS(refusal(twice.build()), "tensor 'matrix' appears twice (at offset ");
  TflBuilder negative = sample();
  negative.tensors[0].shape = {-1, 32};
  CHECK_CONTAINS(refusal(negative.build()), "tensor 'matrix' has a negative dimension");
  TflBuilder wide = sample();
  wide.tensors[0].shape.assign(9, 1);
  CHECK_CONTAINS(refusal(wide.build()), "claims 9 dimensions of tensor 'matrix', expected at most 8");
  TflBuilder wordy = sample();
  wordy.tensors[0].name.assign(1001, 'x');
  CHECK_CONTAINS(refusal(wordy.build()), "the name of a tensor has 1001 bytes, expected at most 1000");
  CHECK_CONTAINS(refusal(bytes_of_text("<html>")), "is not a TFLite file, it begins with '<html>'");
}

TEST_CASE("kinds of files are told by their bytes") {
  const auto kind = [](const std::string& text) {
    const ByteVector bytes = bytes_of_text(text);
    return file_kind(Bytes(bytes));
  };
  const std::string zip("PK\x03\x04", 4);
  const std::string zeros(4, '\0');
  CHECK(kind("GGUF....") == FileKind::gguf);
  CHECK(kind(std::string("\x02\0\0\0\0\0\0\0{}", 10)) == FileKind::safetensors);
  CHECK(kind("....TFL3....") == FileKind::tflite);
  CHECK(kind("LITERTLM....") == FileKind::litertlm);
  CHECK(kind(zeros + zip + "....") == FileKind::task);
  CHECK(kind(zip + "....TF_LITE_PREFILL_DECODE....") == FileKind::task);
  CHECK(kind(zip + "....word/document.xml....") == FileKind::unknown);
  CHECK(kind("<!DOCTYPE html>") == FileKind::unknown);
  CHECK(kind(std::string(100, '\0')) == FileKind::unknown);
  CHECK(kind("") == FileKind::unknown);
}

TEST_CASE("parameters of a model are read from its message, and unknown fields passed over") {
  // Of Gemma 2B, as MediaPipe's converter wrote them.
  const std::uint8_t raw[] = {
      0x0a, 0x34, 0x08, 0x01, 0x18, 0x80, 0x10, 0x20, 0x80, 0x80, 0x01, 0x28, 0x80, 0x02, 0x30, 0x08, 0x38,
      0x12, 0x48, 0x01, 0x5a, 0x08, 0x08, 0x01, 0x10, 0x01, 0x18, 0x02, 0x20, 0x01, 0x62, 0x02, 0x08, 0x01,
      0x68, 0x02, 0x70, 0x01, 0x78, 0x02, 0x82, 0x01, 0x08, 0x08, 0x01, 0x10, 0x01, 0x18, 0x01, 0x28, 0x02,
      0x90, 0x01, 0x01, 0x10, 0x80, 0xd0, 0x0f, 0x20, 0x02, 0x2a, 0x05, 0x3c, 0x65, 0x6f, 0x73, 0x3e};
  const auto p = mediapipe::read_llm_parameters(Bytes(raw, sizeof raw), "m");
  REQUIRE_MESSAGE(p.ok(), p.error().message());
  CHECK(p->width == 2048);
  CHECK(p->ffn_width == 16384);
  CHECK(p->head_dim == 256);
  CHECK(p->heads == 8);
  CHECK(p->layers == 18);
  CHECK(p->kv_heads == 1);
  CHECK(p->activation == 1);
  CHECK(p->scale_type == 2);
  CHECK(p->vocab_size == 256000);
  CHECK(p->start_token_id == 2u);
  CHECK(p->stop_tokens == std::vector<std::string>{"<eos>"});

  const ByteVector packed = ProtoBytes().bytes(18, {1, 0x80, 0x01}).number(18, 7).text(99, "new").take();
  CHECK(mediapipe::read_llm_parameters(Bytes(packed), "m")->stop_token_ids ==
        std::vector<std::uint64_t>{1, 128, 7});
  for (std::size_t size = 0; size < sizeof raw; ++size) {
    const ByteVector cut(raw, raw + size);
    (void)mediapipe::read_llm_parameters(Bytes(cut), "m").ok();
  }
}

TEST_CASE("the tables of files that MediaPipe's converters wrote") {
  const std::string folder = mediapipe_samples("real_GEMMA_2B_cpu_888.head");
  if (folder.empty()) return;
  for (const char* name : {"real_GEMMA_2B_cpu_888", "real_GEMMA_2B_gpu_888", "real_GEMMA_2B_gpu_888_v11"}) {
    CAPTURE(name);
    const TempFolder temp;
    const auto wanted = nlohmann::json::parse(unzipped(file_text(folder + name + ".tensors.json.gz")));
    std::uint64_t end = 0;
    for (const auto& t : wanted) {
      end = (std::max)(end, t["offset"].get<std::uint64_t>() + t["size"].get<std::uint64_t>());
    }
    // The weights are not there: a hole in the file stands for them.
    temp.write("m.bin", file_text(folder + name + ".head"));
    std::filesystem::resize_file(temp.path("m.bin"), end);
    const auto file = tfl::File::open(temp.path("m.bin"));
    REQUIRE_MESSAGE(file.ok(), file.error().message());
    CHECK(file->graph_name() == "GEMMA_2B");
    CHECK(file->metadata_number("odml.infra.LlmModelType") == 6u);
    REQUIRE(file->tensors().size() == wanted.size());
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const tfl::Tensor& tensor = file->tensors()[i];
      CHECK(tensor.name == wanted[i]["name"].get<std::string>());
      CHECK(tensor.shape == wanted[i]["shape"].get<std::vector<std::uint64_t>>());
      CHECK(static_cast<std::size_t>(tensor.data.data() - file->bytes().data()) ==
            wanted[i]["offset"].get<std::size_t>());
      CHECK(tensor.data.size() == wanted[i]["size"].get<std::size_t>());
    }
  }
}
