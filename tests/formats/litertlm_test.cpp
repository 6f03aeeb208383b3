// LiteRT-LM's containers: sections come back with their keys, and what is wrong is named.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "formats/bundle_builder.hpp"
#include "formats/tfl_builder.hpp"
#include "gemma/formats/file_kind.hpp"
#include "gemma/formats/litertlm.hpp"
#include "gemma/formats/llm_parameters.hpp"
#include "mediapipe_samples.hpp"
#include "temp_folder.hpp"

using namespace gemma;
using litertlm::SectionKind;

namespace {

LitertlmBuilder sample() {
  LitertlmBuilder b;
  b.sections.push_back({5, "", bytes_of_text("metadata")});
  b.sections.push_back({200, "", ByteVector(20000, 1)});
  b.sections.push_back({3, "tf_lite_prefill_decode", bytes_of_text("graph")});
  return b;
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
#define CHECK_CONTAINS(text, part) CHECK_MESSAGE(contains(text, part), (text))

std::string refusal(const ByteVector& bytes) {
  const auto sections = litertlm::read_sections(Bytes(bytes), "m.litertlm");
  if (sections.ok()) return "(accepted)";
  CHECK(sections.error().message().rfind("m.litertlm: ", 0) == 0);
  return sections.error().message();
}

}  // namespace

TEST_CASE("sections of a container come back, those of unknown kinds too") {
  const ByteVector bytes = sample().build();
  CHECK(file_kind(Bytes(bytes)) == FileKind::litertlm);
  const auto sections = litertlm::read_sections(Bytes(bytes), "m.litertlm");
  REQUIRE_MESSAGE(sections.ok(), sections.error().message());
  REQUIRE(sections->size() == 3);
  CHECK((*sections)[0].kind == SectionKind::llm_metadata);
  CHECK((*sections)[0].keys.empty());
  CHECK(std::string((*sections)[0].data.begin(), (*sections)[0].data.end()) == "metadata");
  CHECK((*sections)[1].data.size() == 20000);
  CHECK((*sections)[2].kind == SectionKind::tflite);
  CHECK((*sections)[2].keys.at("model_type") == "tf_lite_prefill_decode");
  CHECK(litertlm::kind_name((*sections)[0].kind) == "LlmMetadata (5)");
  CHECK(litertlm::kind_name((*sections)[1].kind) == "unknown (200)");
}

TEST_CASE("what is wrong with a container is named") {
  LitertlmBuilder newer = sample();
  newer.major = 2;
  CHECK_CONTAINS(refusal(newer.build()), "is a .litertlm file of version 2; this version reads those of version 1");
  const ByteVector whole = sample().build();
  CHECK_CONTAINS(refusal(ByteVector(whole.begin(), whole.end() - 1)), "section TFLite (3) from offset");
  CHECK_CONTAINS(refusal(ByteVector(whole.begin(), whole.end() - 1)), "is the download complete?");
  CHECK_CONTAINS(refusal(ByteVector(whole.begin(), whole.begin() + 20)), "ends within its head of 32 bytes");
  CHECK_CONTAINS(refusal(ByteVector(whole.begin(), whole.begin() + 50)), "says that its head ends at offset");
  CHECK_CONTAINS(refusal(bytes_of_text("<html>")), "is not a .litertlm file, it begins with '<html>'");
}

TEST_CASE("a container cut anywhere in its head, or with any bit of it flipped, never crashes") {
  ByteVector bytes = sample().build();
  const std::size_t head = 400;
  for (std::size_t size = 0; size < head; ++size) {
    CHECK_FALSE(litertlm::read_sections(Bytes(bytes.data(), size), "m").ok());
  }
  std::size_t refused = 0;
  for (std::size_t bit = 0; bit < 8 * head; ++bit) {
    const auto flip = static_cast<std::uint8_t>(1 << bit % 8);
    bytes[bit / 8] ^= flip;
    const auto sections = litertlm::read_sections(Bytes(bytes), "m");
    refused += !sections.ok();
    std::uint64_t sum = 0;
    for (std::size_t i = 0; sections.ok() && i < sections->size(); ++i) {
      for (const std::uint8_t byte : (*sections)[i].data) sum += byte;
    }
    CHECK(sum < 100'000'000);
    bytes[bit / 8] ^= flip;
  }
  CHECK(refused > 500);
}

TEST_CASE("the metadata of a language model in both messages") {
  const ByteVector turn = ProtoBytes().text(2, "<start_of_turn>user\n").text(3, "<end_of_turn>\n").take();
  const ByteVector old_message =
      ProtoBytes().text(6, "<bos>").text(5, "<eos>").bytes(8, turn).number(18, 7).take();
  const auto p = mediapipe::read_llm_parameters(Bytes(old_message), "m").value();
  CHECK(p.start_token == "<bos>");
  CHECK(p.turns.user.prefix == "<start_of_turn>user\n");
  CHECK(p.turns.user.suffix == "<end_of_turn>\n");
  CHECK(p.stop_token_ids == std::vector<std::uint64_t>{7});
  const ByteVector turns = ProtoBytes().bytes(2, turn).take();
  const ByteVector roles = ProtoBytes().bytes(17, turns).take();
  CHECK(mediapipe::read_llm_parameters(Bytes(roles), "m")->turns.model.prefix == "<start_of_turn>user\n");

  const auto ids = [](const ByteVector& list) { return ProtoBytes().bytes(1, ProtoBytes().bytes(1, list).take()); };
  const ByteVector message =
      ProtoBytes()
          .message(1, ids({2}))
          .message(2, ids({106}))
          .message(2, ids({1, 2}))
          .message(2, ProtoBytes().text(2, "<end_of_turn>"))
          .message(3, ProtoBytes().message(1, ProtoBytes().text(1, "a").text(2, "b")).message(3, ProtoBytes().text(1, "c")))
          .message(6, ProtoBytes().message(4, ProtoBytes()))
          .text(7, "{{ x }}")
          .number(99, 1)
          .take();
  const auto m = mediapipe::read_llm_metadata(Bytes(message), "m");
  REQUIRE_MESSAGE(m.ok(), m.error().message());
  CHECK(m->parameters.start_token_id == 2u);
  CHECK(m->parameters.stop_token_ids == std::vector<std::uint64_t>{106});
  CHECK(m->parameters.stop_tokens == std::vector<std::string>{"<end_of_turn>"});
  CHECK(m->parameters.turns.user.prefix == "a");
  CHECK(m->parameters.turns.user.suffix == "b");
  CHECK(m->parameters.turns.system.prefix == "c");
  CHECK(m->model_type == 4);
  CHECK(m->jinja == "{{ x }}");
  for (std::size_t size = 0; size < message.size(); ++size) {
    (void)mediapipe::read_llm_metadata(Bytes(message.data(), size), "m").ok();
  }
}

TEST_CASE("the container that litert-lm-builder wrote") {
  const std::string name = "gemma3_q4_block32_ekv64.litertlm";
  const std::string folder = mediapipe_samples(name);
  if (folder.empty()) return;
  const ByteVector bytes = bytes_of_text(file_text(folder + name));
  const auto sections = litertlm::read_sections(Bytes(bytes), name).value();
  REQUIRE(sections.size() == 3);
  CHECK(sections[0].kind == SectionKind::llm_metadata);
  CHECK(sections[1].kind == SectionKind::sentencepiece);
  CHECK(sections[1].data.size() == file_text(folder + "tiny_spm.model").size());
  CHECK(sections[2].keys.at("model_type") == "tf_lite_prefill_decode");
  const auto m = mediapipe::read_llm_metadata(sections[0].data, name).value();
  CHECK(m.parameters.start_token_id == 2u);
  CHECK(m.parameters.stop_token_ids == std::vector<std::uint64_t>{1});
  CHECK(m.parameters.stop_tokens == std::vector<std::string>{"<end_of_turn>"});
  CHECK(m.parameters.turns.model.prefix == "<start_of_turn>model\n");
}
