#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "gemma/base/bytes.hpp"

using namespace gemma;

namespace {
const std::vector<std::uint8_t> kBytes = {0x01, 0x02, 0x03, 0x04, 0xFF, 0xFE, 0x00, 0x00, 0x80};
ByteReader reader() { return ByteReader(Bytes(kBytes), "data.bin"); }
}  // namespace

TEST_CASE("numbers are little-endian and need no alignment") {
  CHECK(load_le<std::uint32_t>(kBytes.data()) == 0x04030201u);
  CHECK(load_le<std::uint16_t>(kBytes.data() + 1) == 0x0302u);
  CHECK(load_le<std::int16_t>(kBytes.data() + 4) == -257);
  CHECK(load_le<std::int8_t>(kBytes.data() + 8) == -128);
  const std::uint8_t one[] = {0, 0, 0, 0x80, 0x3F};
  CHECK(load_le<float>(one + 1) == 1.0f);
}

TEST_CASE("a reader advances by what it reads") {
  ByteReader r = reader();
  CHECK(*r.read<std::uint8_t>("a") == 1);
  CHECK(*r.read<std::uint16_t>("b") == 0x0302);
  CHECK(r.offset() == 3);
  CHECK(r.remaining() == 6);
  const auto rest = r.read_bytes(6, "c");
  REQUIRE(rest.ok());
  CHECK(rest->data() == kBytes.data() + 3);
  CHECK(r.remaining() == 0);
  CHECK(r.read_bytes(0, "nothing").ok());
}

TEST_CASE("reading past the end is refused, says what was read, and moves nothing") {
  ByteReader r = reader();
  REQUIRE(r.read_bytes(5, "the start").ok());
  const auto number = r.read<std::uint64_t>("the count");
  REQUIRE_FALSE(number.ok());
  CHECK(number.error().code() == ErrorCode::format);
  CHECK(number.error().message() ==
        "data.bin: truncated at offset 5 while reading the count: 8 bytes needed, 4 left; is the "
        "download complete?");
  CHECK(r.offset() == 5);
  CHECK_FALSE(r.read_bytes(~std::uint64_t{0}, "too much").ok());
  CHECK(r.read<std::uint32_t>("the rest").ok());
}

TEST_CASE("an error of a reader says where it is") {
  ByteReader r = reader();
  REQUIRE(r.read_bytes(2, "x").ok());
  CHECK(r.error("is wrong").message() == "data.bin: is wrong (at offset 2)");
}
