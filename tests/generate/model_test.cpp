#include "gemma/generate/model.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "gemma/formats/gguf_writer.hpp"
#include "gemma/generate/session.hpp"
#include "golden.hpp"
#include "huggingface_folder.hpp"
#include "temp_folder.hpp"

namespace {

using gemma::ErrorCode;
using gemma::Model;
using gemma::Session;
using gemma::Span;
using gemma::TokenId;

std::string error_of(const std::string& path) {
  const gemma::Result<Model> model = gemma::try_load(path);
  return model ? std::string() : model.error().message();
}

std::vector<std::uint8_t> bytes_of_file(const std::string& path) {
  const std::string text = file_text(path);
  return {text.begin(), text.end()};
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// The tiny model with four bytes in the middle of a tensor's data changed.
void write_damaged(const TempFolder& folder, const std::string& tensor, std::uint32_t bits,
                   std::size_t offset) {
  const std::string path = data_path("tiny-gemma3.gguf");
  std::string bytes = file_text(path);
  const gemma::gguf::File file = gemma::gguf::File::open(path).value();
  const gemma::TensorView* found = file.find_tensor(tensor);
  REQUIRE(found != nullptr);
  const auto at = static_cast<std::size_t>(found->data.data() - file.bytes().data()) + offset;
  std::memcpy(&bytes[at], &bits, sizeof bits);
  folder.write("damaged.gguf", bytes);
}

/// The tiny model as m-00001-of-00003.gguf …, every third tensor in each; the second part may say
/// another number of itself, and the first another number of tensors.
void write_parts(const TempFolder& folder, std::uint32_t second = 1, std::size_t missing = 0) {
  const gemma::gguf::File whole =
      gemma::gguf::File::open(data_path("tiny-gemma3.gguf")).value();
  for (std::uint32_t part = 0; part < 3; ++part) {
    gemma::gguf::Metadata metadata;
    if (part == 0) {
      for (const gemma::gguf::Entry& entry : whole.entries()) metadata.add(entry);
    }
    metadata.add_uint("split.no", part == 1 ? second : part);
    metadata.add_uint("split.count", 3);
    metadata.add_uint("split.tensors.count",
                      static_cast<std::uint32_t>(whole.tensors().size() + missing));
    std::vector<gemma::gguf::TensorInfo> infos;
    std::vector<const gemma::TensorView*> tensors;
    for (std::size_t i = part; i < whole.tensors().size(); i += 3) {
      tensors.push_back(&whole.tensors()[i]);
      infos.push_back({tensors.back()->name, tensors.back()->type, tensors.back()->shape});
    }
    auto writer = gemma::gguf::Writer::create(
                      folder.path("m-0000" + std::to_string(part + 1) + "-of-00003.gguf"), metadata,
                      infos)
                      .value();
    for (const gemma::TensorView* tensor : tensors) REQUIRE(writer.append(tensor->data).ok());
    REQUIRE(writer.finish().ok());
  }
}

}  // namespace

TEST_CASE("a folder is found by any safetensors file in it") {
  const HuggingFaceFolder folder("gemma3_swa");
  const Model by_folder = gemma::load(folder.path());
  const Model by_file = gemma::load(folder.files().path("model.safetensors"));
  CHECK(by_file.source().format() == by_folder.source().format());
  CHECK(by_file.config().vocab_size == by_folder.config().vocab_size);
  folder.files().write("renamed.gguf", file_text(folder.files().path("model.safetensors")));
  CHECK(error_of(folder.files().path("renamed.gguf")).empty());
}

TEST_CASE("a model in several GGUF files is loaded by the first of them") {
  const TempFolder folder;
  write_parts(folder);
  {  // Windows keeps files for as long as they are mapped
    const Model parts = gemma::load(folder.path("m-00001-of-00003.gguf"));
    CHECK(parts.source().format() == "GGUF v3 in 3 parts");
    const std::vector<TokenId> ids = {2, 10, 20};
    Session a(parts), b(gemma::load(data_path("tiny-gemma3.gguf")));
    CHECK(a.logits(ids) == b.logits(ids));
  }
  CHECK(contains(error_of(folder.path("m-00002-of-00003.gguf")), "this is part 2 of 3 of a model"));
  folder.remove("m-00003-of-00003.gguf");
  CHECK(contains(error_of(folder.path("m-00001-of-00003.gguf")),
                 folder.path("m-00003-of-00003.gguf") + " is missing"));
}

TEST_CASE("parts that do not belong together are refused") {
  const TempFolder folder;
  const std::string first = folder.path("m-00001-of-00003.gguf");
  write_parts(folder, 2);
  CHECK(contains(error_of(first), "says that it is part 3 of 3, expected part 2 of 3"));
  write_parts(folder, 1, 1);
  CHECK(contains(error_of(first), "tensors, but the first says"));
}

TEST_CASE("weights in memory give the bits that weights in the file give") {
  const std::string path = data_path("tiny-gemma3.gguf");
  const std::vector<TokenId> ids = {2, 10, 20, 30, 40, 50, 60, 70, 80, 90};
  const auto logits_of = [&](gemma::FileAccess access) {
    gemma::LoadOptions options;
    options.access = access;
    const Model model = gemma::load(path, options);
    return Session(model).logits(ids);
  };
  const std::vector<float> expected = logits_of(gemma::FileAccess::map);
  REQUIRE_FALSE(expected.empty());
  CHECK(logits_of(gemma::FileAccess::memory) == expected);
  CHECK(logits_of(gemma::FileAccess::fastest) == expected);
}

TEST_CASE("a model in memory gives what the same file gives, at any address") {
  gemma::LoadOptions mapped;
  mapped.access = gemma::FileAccess::map;
  gemma::GenerateOptions options;
  options.sampler.temperature = 0.0f;
  options.max_tokens = 30;
  for (const char* name : {"kjv-small.gguf", "golden/gemma3_swa/model-f32.gguf"}) {
    CAPTURE(name);
    const std::string path = data_path(name);
    const std::vector<TokenId> ids = {2, 10, 20, 30};
    const auto text_of = [&](const Model& model) {
      return Session(model).generate(Span<const TokenId>(ids), {}, options).ids;
    };
    const std::vector<TokenId> expected = text_of(gemma::load(path, mapped));
    const std::vector<std::uint8_t> bytes = bytes_of_file(path);
    CHECK(text_of(gemma::load_bytes(gemma::Bytes(bytes), "view")) == expected);
    std::vector<std::uint8_t> odd(bytes.size() + 1);
    std::copy(bytes.begin(), bytes.end(), odd.begin() + 1);
    CHECK(text_of(gemma::load_bytes(gemma::Bytes(odd).subspan(1), "odd")) == expected);
  }
}

TEST_CASE("a model in memory keeps the bytes that it was given, and copies none") {
  const std::string path = data_path("kjv-small.gguf");
  std::vector<std::uint8_t> bytes = bytes_of_file(path);
  const std::uint8_t* const begin = bytes.data();
  const std::uint8_t* const end = begin + bytes.size();
  gemma::LoadOptions memory;
  memory.access = gemma::FileAccess::memory;
  Model model = gemma::load_bytes(std::move(bytes), "taken", memory);
  CHECK(model.path() == "taken");
  CHECK(model.source().files() == std::vector<std::string>{"taken"});
  const gemma::WeightMatrix& head = model.weights().head;
  CHECK(head.data >= begin);
  CHECK(head.data < end);

  auto owner = std::make_shared<const std::vector<std::uint8_t>>(bytes_of_file(path));
  const std::weak_ptr<const std::vector<std::uint8_t>> alive = owner;
  model = gemma::load_bytes(gemma::Bytes(*owner), "shared", {}, owner);
  owner.reset();
  {
    const Session session(model);
    model = gemma::load(path);
    CHECK_FALSE(alive.expired());
  }
  CHECK(alive.expired());
}

TEST_CASE("bytes that are no whole model are refused by the name they were given") {
  const std::vector<std::uint8_t> whole = bytes_of_file(data_path("kjv-small.gguf"));
  const auto error_of_first = [&](std::size_t size) {
    const auto model = gemma::try_load_bytes(gemma::Bytes(whole.data(), size), "dropped.gguf");
    return model ? std::string() : model.error().message();
  };
  CHECK(contains(error_of_first(0), "dropped.gguf: is not a model this version reads, it is empty"));
  CHECK(contains(error_of_first(1000), "dropped.gguf: "));
  const std::string cut = error_of_first(whole.size() - 1);
  CHECK(contains(cut, "dropped.gguf: tensor '"));
  CHECK(contains(cut, "exceeds the file, which has " + std::to_string(whole.size() - 1) + " bytes"));

  const TempFolder folder;
  write_parts(folder);
  const auto part = gemma::try_load_bytes(bytes_of_file(folder.path("m-00001-of-00003.gguf")), "part");
  REQUIRE_FALSE(part.ok());
  CHECK(contains(part.error().message(), "part: this is one of 3 parts of a model"));
}

TEST_CASE("what is no model is refused by its path") {
  const TempFolder folder;
  CHECK(contains(error_of(folder.path("none.gguf")), folder.path("none.gguf") + ": "));
  CHECK(contains(error_of(folder.path()), "holds no config.json"));
  folder.write("text.gguf", "this is no model at all");
  CHECK(contains(error_of(folder.path("text.gguf")), "text.gguf"));
  folder.write("empty.gguf", "");
  CHECK(contains(error_of(folder.path("empty.gguf")), "empty"));
}

TEST_CASE("a vocabulary larger than the embedding is refused with both sizes") {
  FolderStyle style;
  style.tokenizer = "gemma3_swa";  // has more pieces than gemma1_mqa has rows
  const HuggingFaceFolder folder("gemma1_mqa", style);
  CHECK(contains(error_of(folder.path()), "the vocabulary has 768 pieces, but the embedding only "
                                          "512 rows"));
}

TEST_CASE("weights that are not numbers are an error, whatever is asked of the model") {
  const TempFolder folder;
  // The scale of a block of Q8_0, as a NaN and as an infinity.
  for (const std::uint32_t bits : {0x00007E00u, 0x00007C00u}) {
    for (const char* tensor : {"blk.2.ffn_down.weight", "blk.0.attn_q.weight", "token_embd.weight"}) {
      CAPTURE(tensor);
      write_damaged(folder, tensor, bits, 0);
      const Model model = gemma::load(folder.path("damaged.gguf"));
      Session session(model);
      // Also where only one logit of all is damaged.
      const std::vector<TokenId> ids = {2, 10, 20};
      const auto text = session.try_generate(Span<const TokenId>(ids));
      REQUIRE_FALSE(text.ok());
      CHECK(text.error().code() == ErrorCode::format);
      CHECK(contains(text.error().message(), "damaged.gguf: what the model computes are not numbers"));
      CHECK(session.position() == 0);
      CHECK_FALSE(session.try_logits(ids).ok());
      const bool hidden_is_fine = std::string(tensor) == "token_embd.weight";
      CHECK(session.try_embed(Span<const TokenId>(ids)).ok() == hidden_is_fine);
    }
  }
  write_damaged(folder, "blk.1.ffn_norm.weight", 0x7FC00000u, 4);
  CHECK(contains(error_of(folder.path("damaged.gguf")),
                 "tensor 'blk.1.ffn_norm.weight' holds a value that is not a number"));
}
