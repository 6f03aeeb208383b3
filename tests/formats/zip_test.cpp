// Zip archives: entries are found in all of their forms, and what is wrong is named.
#include <doctest/doctest.h>

#include <functional>
#include <string>
#include <vector>

#include "formats/bundle_builder.hpp"
#include "gemma/formats/file_kind.hpp"
#include "gemma/formats/zip.hpp"
#include "mediapipe_samples.hpp"
#include "temp_folder.hpp"

using namespace gemma;

namespace {

constexpr std::uint32_t kChecksum = 0xCBF43926;  // of "123456789"

ZipBuilder sample() {
  ZipBuilder zip;
  zip.add("TF_LITE_PREFILL_DECODE", ByteVector(100, 7));
  zip.add("TOKENIZER_MODEL", bytes_of_text("123456789"));
  zip.add("METADATA", {});
  zip.entries[1].checksum = kChecksum;
  return zip;
}

std::string text_of(Bytes bytes) { return std::string(bytes.begin(), bytes.end()); }

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
#define CHECK_CONTAINS(text, part) CHECK_MESSAGE(contains(text, part), (text))

std::string refusal(const ByteVector& bytes) {
  const auto entries = zip::read_entries(Bytes(bytes), "m.task");
  if (entries.ok()) return "(accepted)";
  CHECK(entries.error().message().rfind("m.task: ", 0) == 0);
  return entries.error().message();
}

}  // namespace

TEST_CASE("entries of an archive come back, padded or not, large or small") {
  for (const bool padded : {true, false}) {
    for (const bool wide : {true, false}) {
      CAPTURE(padded);
      CAPTURE(wide);
      ZipBuilder zip = sample();
      zip.padded = padded;
      zip.wide = wide;
      zip.comment = "a comment";
      const ByteVector bytes = zip.build();
      CHECK(file_kind(Bytes(bytes)) == FileKind::task);
      const auto entries = zip::read_entries(Bytes(bytes), "m.task");
      REQUIRE_MESSAGE(entries.ok(), entries.error().message());
      REQUIRE(entries->size() == 3);
      CHECK((*entries)[0].name == "TF_LITE_PREFILL_DECODE");
      CHECK((*entries)[0].data.size() == 100);
      CHECK(text_of((*entries)[1].data) == "123456789");
      CHECK((*entries)[2].data.empty());
    }
  }
}

TEST_CASE("deflated entries are unpacked, and their checksums compared") {
  ZipBuilder zip = sample();
  zip.entries[1] = {"packed", deflate_stored(bytes_of_text("123456789")), 8, kChecksum, 9};
  ByteVector zip_bytes;
  const auto read = [&]() -> std::string {
    zip_bytes = zip.build();
    const auto entries = zip::read_entries(Bytes(zip_bytes), "m.task").value();
    const auto content = zip::unpack(entries[1], "m.task");
    return content.ok() ? std::string(content->data(), content->data() + content->size()) : content.error().message();
  };
  CHECK(read() == "123456789");
  zip.entries[1].checksum ^= 1;
  CHECK_CONTAINS(read(), "m.task: entry 'packed' is damaged: its checksum is another than it says");
  zip.entries[1].size = 10;
  CHECK_CONTAINS(read(), "m.task: entry 'packed': the packed data gives fewer bytes than promised");
  zip.entries[1].method = 9;
  CHECK_CONTAINS(read(), "is packed by method 9; expected 0 (stored) or 8 (deflated)");
}

TEST_CASE("what is wrong with an archive is named") {
  const auto broken = [](const std::function<void(ZipBuilder&)>& spoil) {
    ZipBuilder zip = sample();
    spoil(zip);
    return refusal(zip.build());
  };
  CHECK_CONTAINS(broken([](ZipBuilder& z) { z.flags = 1; }), "entry 'TF_LITE_PREFILL_DECODE' is encrypted");
  CHECK_CONTAINS(broken([](ZipBuilder& z) { z.entries[1].name = "METADATA"; }), "entry 'METADATA' appears twice");
  CHECK_CONTAINS(broken([](ZipBuilder& z) { z.entries[1].size = 4; }),
                 "entry 'TOKENIZER_MODEL' is stored, but has two sizes, 9 and 4");
  const ByteVector whole = sample().build();
  CHECK_CONTAINS(refusal(ByteVector(whole.begin(), whole.end() - 1)), "there is no table of contents at the end");
  CHECK_CONTAINS(refusal({}), "there is no table of contents at the end");
  // A file whose middle is missing.
  ByteVector torn(whole.begin() + 50, whole.end());
  CHECK_CONTAINS(refusal(torn), "is the download complete?");
}

TEST_CASE("an archive cut anywhere, or with any bit flipped, is refused or read, and never crashes") {
  for (const bool wide : {true, false}) {
    ZipBuilder zip = sample();
    zip.wide = wide;
    ByteVector bytes = zip.build();
    std::uint64_t sum = 0;
    const auto read = [&](const ByteVector& b) {
      const auto entries = zip::read_entries(Bytes(b), "m.task");
      if (!entries.ok()) return false;
      for (const zip::Entry& entry : *entries) {
        for (const std::uint8_t byte : entry.data) sum += byte;
      }
      return true;
    };
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      CHECK_FALSE(read(ByteVector(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size))));
    }
    std::size_t refused = 0;
    for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
      const auto flip = static_cast<std::uint8_t>(1 << bit % 8);
      bytes[bit / 8] ^= flip;
      refused += !read(bytes);
      bytes[bit / 8] ^= flip;
    }
    CHECK(refused > 500);
    CHECK(sum > 0);
  }
}

TEST_CASE("the bundle that MediaPipe's bundler wrote") {
  const std::string name = "gemma3_q8_ekv64.task";
  const std::string folder = mediapipe_samples(name);
  if (folder.empty()) return;
  const std::string text = file_text(folder + name);
  const ByteVector bytes = bytes_of_text(text);
  const auto entries = zip::read_entries(Bytes(bytes), name).value();
  REQUIRE(entries.size() == 3);
  CHECK(entries[0].name == "TF_LITE_PREFILL_DECODE");
  CHECK(entries[1].name == "TOKENIZER_MODEL");
  CHECK(entries[2].name == "METADATA");
  CHECK(text_of(entries[1].data) == file_text(folder + "tiny_spm.model"));
  CHECK(text_of(entries[0].data).substr(4, 4) == "TFL3");
}
