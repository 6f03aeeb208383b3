// Deflate streams that zlib packed come back as they were, and damaged ones are refused.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "formats/bundle_builder.hpp"
#include "gemma/formats/inflate.hpp"
#include "temp_folder.hpp"
#include "test_data.hpp"

using namespace gemma;

namespace {

ByteVector packed(const std::string& name) { return bytes_of_text(file_text(data_path("inflate/" + name + ".zlib"))); }

std::string numbers() {
  std::string out;
  for (int i = 0; i < 6000; ++i) out += std::to_string(i) + " " + std::to_string(i * i % 1009) + "\n";
  return out;
}

/// What comes out; the error's message if it is one.
std::string unpack(const ByteVector& stream, std::size_t size) {
  const auto out = inflate_zlib(Bytes(stream), size, "m.zlib");
  if (!out.ok()) {
    CHECK(out.error().message().rfind("m.zlib: the packed data ", 0) == 0);
    return out.error().message();
  }
  return std::string(out->data(), out->data() + out->size());
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
#define CHECK_CONTAINS(text, part) CHECK_MESSAGE(contains(text, part), (text))

}  // namespace

TEST_CASE("streams of every kind of block come back as they were") {
  const std::string text = file_text(data_path("kjv-small.txt"));
  for (const char* name : {"text_dynamic", "text_fixed", "text_stored", "text_literals"}) {
    CAPTURE(name);
    CHECK(unpack(packed(name), text.size()) == text);
  }
  CHECK(unpack(packed("numbers"), numbers().size()) == numbers());
  CHECK(unpack(packed("zeros"), 100000) == std::string(100000, '\0'));
  CHECK(unpack(packed("empty"), 0).empty());
  const std::string large(200000, 'x');
  CHECK(unpack(zlib_stored(bytes_of_text(large)), large.size()) == large);
}

TEST_CASE("a stream gives exactly the bytes that it promised") {
  const std::string text = file_text(data_path("kjv-small.txt"));
  for (const char* name : {"text_dynamic", "text_fixed", "text_stored", "text_literals"}) {
    CAPTURE(name);
    CHECK_CONTAINS(unpack(packed(name), text.size() - 1), "gives more bytes than promised");
    CHECK_CONTAINS(unpack(packed(name), text.size() + 1), "gives fewer bytes than promised");
  }
  CHECK_CONTAINS(unpack(packed("zeros"), 99999), "gives more bytes than promised");
  // Not even asked for.
  CHECK_CONTAINS(unpack(packed("empty"), std::size_t{1} << 60), "cannot hold the 1152921504606846976");
}

TEST_CASE("what is no zlib stream, or has another checksum, is refused") {
  const std::string text = file_text(data_path("kjv-small.txt"));
  CHECK_CONTAINS(unpack(bytes_of_text("{\"model\": 1}"), 10), "does not begin as a zlib stream");
  CHECK_CONTAINS(unpack({}, 0), "does not begin as a zlib stream");
  ByteVector stream = packed("text_dynamic");
  stream.back() ^= 1;
  CHECK_CONTAINS(unpack(stream, text.size()), "has another checksum than it says");
  ByteVector literal = packed("text_stored");
  literal[10] ^= 1;
  CHECK_CONTAINS(unpack(literal, text.size()), "has another checksum than it says");
}

TEST_CASE("a stream cut anywhere, or with any bit flipped, is refused or unpacked, and never crashes") {
  for (const char* name : {"text_dynamic", "text_fixed", "text_stored", "zeros"}) {
    CAPTURE(name);
    ByteVector stream = packed(name);
    const std::size_t size = std::string(name) == "zeros" ? 100000 : 644;
    for (std::size_t end = 0; end < stream.size(); ++end) {
      const ByteVector cut(stream.begin(), stream.begin() + static_cast<std::ptrdiff_t>(end));
      CHECK_FALSE(inflate_zlib(Bytes(cut), size, "m").ok());
    }
    for (std::size_t bit = 0; bit < 8 * stream.size(); ++bit) {
      const auto flip = static_cast<std::uint8_t>(1 << bit % 8);
      stream[bit / 8] ^= flip;
      (void)inflate_zlib(Bytes(stream), size, "m").ok();
      stream[bit / 8] ^= flip;
    }
  }
}
