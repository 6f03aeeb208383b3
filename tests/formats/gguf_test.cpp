// GGUF: what is written is read, and what is wrong is refused with a message that says so.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "formats/gguf_builder.hpp"
#include "gemma/formats/gguf.hpp"
#include "gemma/quant/registry.hpp"
#include "test_data.hpp"

using namespace gemma;
using gguf::File;
using gguf::Value;
using gguf::ValueType;

namespace {

Result<File> read(const std::vector<std::uint8_t>& bytes) {
  return File::from_bytes(Bytes(bytes), "test.gguf");
}

/// The error of a file, which must have one that begins with the file's name.
std::string refusal(const std::vector<std::uint8_t>& bytes) {
  const Result<File> file = read(bytes);
  if (file.ok()) return "(accepted)";
  CHECK(file.error().message().rfind("test.gguf: ", 0) == 0);
  return file.error().message().substr(11);
}
std::string refusal(const GgufBuilder& builder) { return refusal(builder.build()); }

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}
#define CHECK_CONTAINS(text, part) CHECK_MESSAGE(contains(text, part), (text))

std::vector<std::uint8_t> zeros(std::size_t n) { return std::vector<std::uint8_t>(n); }

/// A small valid file with something of everything.
GgufBuilder sample() {
  GgufBuilder b;
  b.text("general.architecture", "gemma3").u32("gemma3.block_count", 18);
  b.number<float>("gemma3.eps", ValueType::f32, 1e-6f);
  b.number<std::uint8_t>("flag", ValueType::boolean, 1);
  b.texts("tokens", {"<pad>", "", "a\0b"});
  b.numbers<float>("scores", ValueType::f32, {0.5f, -1.0f});
  b.raw("nested", ValueType::array,
        GgufBytes().array(ValueType::array, 1).array(ValueType::u8, 2).number<std::uint16_t>(0));
  b.tensor("norm", DType::F32, {4}, zeros(16));
  b.tensor("blk.0.w", DType::Q8_0, {64, 3}, zeros(3 * 68));
  return b;
}

/// Uses all that an accepted file offers, so that a sanitizer sees any view out of bounds.
std::uint64_t touch(const Value& value) {
  std::uint64_t sum = value.describe().size();
  for (const std::uint8_t byte : value.bytes()) sum += byte;
  if (const auto strings = value.as_string_array(); strings.ok()) {
    for (const std::string_view s : *strings) sum += std::string(s).size();
  }
  if (const auto arrays = value.as_array_of_arrays(); arrays.ok()) {
    for (const Value& v : *arrays) sum += touch(v);
  }
  if (const auto numbers = value.as_uint_array(); numbers.ok()) sum += numbers->size();
  return sum;
}
std::uint64_t touch(const File& file) {
  std::uint64_t sum = file.alignment();
  for (const gguf::Entry& entry : file.entries()) sum += touch(entry.value);
  for (const TensorView& tensor : file.tensors()) {
    std::vector<float> row(static_cast<std::size_t>(tensor.row_length()));
    quant::decode_row(tensor.type, tensor.data.data(), row.size(), row.data());
    sum += tensor.data.back() + file.find_tensor(tensor.name)->data.size();
  }
  return sum;
}

}  // namespace

TEST_CASE("metadata of every type comes back as written") {
  GgufBuilder b;
  b.number<std::uint8_t>("u8", ValueType::u8, 200);
  b.number<std::int8_t>("i8", ValueType::i8, -100);
  b.number<std::uint16_t>("u16", ValueType::u16, 60000);
  b.number<std::int16_t>("i16", ValueType::i16, -30000);
  b.number<std::uint32_t>("u32", ValueType::u32, 4000000000u);
  b.number<std::int32_t>("i32", ValueType::i32, -2000000000);
  b.number<float>("f32", ValueType::f32, 0.1f);
  b.number<std::uint8_t>("bool", ValueType::boolean, 1);
  b.text("string", "Gemma \xE2\x9C\xA8");
  b.number<std::uint64_t>("u64", ValueType::u64, ~std::uint64_t{0});
  b.number<std::int64_t>("i64", ValueType::i64, (std::numeric_limits<std::int64_t>::min)());
  b.number<double>("f64", ValueType::f64, 0.1);
  const auto bytes = b.build();
  const auto file = read(bytes);
  REQUIRE_MESSAGE(file.ok(), file.error().message());
  CHECK(*file->get_uint("u8") == 200);
  CHECK(*file->get_int("i8") == -100);
  CHECK(*file->get_uint("u16") == 60000);
  CHECK(*file->get_int("i16") == -30000);
  CHECK(*file->get_uint("u32") == 4000000000u);
  CHECK(*file->get_int("i32") == -2000000000);
  CHECK(*file->get_float("f32") == static_cast<double>(0.1f));
  CHECK(*file->get_bool("bool") == true);
  CHECK(*file->get_string("string") == "Gemma \xE2\x9C\xA8");
  CHECK(*file->get_uint("u64") == ~std::uint64_t{0});
  CHECK(*file->get_int("i64") == (std::numeric_limits<std::int64_t>::min)());
  CHECK(*file->get_float("f64") == 0.1);

  const char* order[] = {"u8",  "i8",   "u16",    "i16", "u32", "i32",
                         "f32", "bool", "string", "u64", "i64", "f64"};
  REQUIRE(file->entries().size() == 12);
  for (std::size_t i = 0; i < 12; ++i) {
    CHECK(file->entries()[i].key == order[i]);
    CHECK(std::string(gguf::value_type_name(file->entries()[i].value.type())) == order[i]);
  }
}

TEST_CASE("arrays of every type come back as written") {
  GgufBuilder b;
  b.numbers<std::uint8_t>("u8", ValueType::u8, {1, 255});
  b.numbers<std::int8_t>("i8", ValueType::i8, {-1, 127});
  b.numbers<std::uint16_t>("u16", ValueType::u16, {1, 65535});
  b.numbers<std::int16_t>("i16", ValueType::i16, {-1, 32767});
  b.numbers<std::uint32_t>("u32", ValueType::u32, {1, 4294967295u});
  b.numbers<std::int32_t>("i32", ValueType::i32, {-1, 5});
  b.numbers<float>("f32", ValueType::f32, {0.5f, -2.0f});
  b.numbers<std::uint8_t>("bool", ValueType::boolean, {1, 0});
  b.texts("string", {"one", "", "three"});
  b.numbers<std::uint64_t>("u64", ValueType::u64, {1, ~std::uint64_t{0}});
  b.numbers<std::int64_t>("i64", ValueType::i64, {-1, 1});
  b.numbers<double>("f64", ValueType::f64, {0.1, 1e300});
  b.numbers<std::uint8_t>("empty", ValueType::u8, {});
  b.raw("nested", ValueType::array,
        GgufBytes()
            .array(ValueType::array, 2)
            .array(ValueType::string, 1).text("x")
            .array(ValueType::u16, 2).number<std::uint16_t>(7).number<std::uint16_t>(8));
  const auto bytes = b.build();
  const auto file = read(bytes);
  REQUIRE_MESSAGE(file.ok(), file.error().message());
  using Uints = std::vector<std::uint64_t>;
  using Ints = std::vector<std::int64_t>;
  using Floats = std::vector<double>;
  CHECK(*file->get_uint_array("u8") == Uints{1, 255});
  CHECK(*file->get_int_array("i8") == Ints{-1, 127});
  CHECK(*file->get_uint_array("u16") == Uints{1, 65535});
  CHECK(*file->get_int_array("i16") == Ints{-1, 32767});
  CHECK(*file->get_uint_array("u32") == Uints{1, 4294967295u});
  CHECK(*file->get_int_array("i32") == Ints{-1, 5});
  CHECK(*file->get_float_array("f32") == Floats{0.5, -2.0});
  CHECK(*file->get_uint_array("bool") == Uints{1, 0});
  CHECK(*file->get_uint_array("u64") == Uints{1, ~std::uint64_t{0}});
  CHECK(*file->get_int_array("i64") == Ints{-1, 1});
  CHECK(*file->get_float_array("f64") == Floats{0.1, 1e300});
  CHECK(file->get_uint_array("empty")->empty());
  const auto strings = file->get_string_array("string");
  REQUIRE(strings.ok());
  CHECK(std::vector<std::string_view>(strings->begin(), strings->end()) ==
        std::vector<std::string_view>{"one", "", "three"});
  const auto nested = file->find("nested")->as_array_of_arrays();
  REQUIRE(nested.ok());
  REQUIRE(nested->size() == 2);
  CHECK((*(*nested)[0].as_string_array())[0] == "x");
  CHECK(*(*nested)[1].as_uint_array() == Uints{7, 8});
}

TEST_CASE("getters convert where nothing is lost and else say what they found") {
  GgufBuilder b;
  b.number<std::int32_t>("positive", ValueType::i32, 7);
  b.number<std::int32_t>("negative", ValueType::i32, -7);
  b.number<std::uint64_t>("huge", ValueType::u64, ~std::uint64_t{0});
  b.number<float>("float", ValueType::f32, 7.0f);
  b.number<std::uint8_t>("true", ValueType::boolean, 1);
  b.text("text", "7\n").u32("number", 7);
  b.numbers<std::int32_t>("mixed", ValueType::i32, {1, -1});
  const auto bytes = b.build();
  const auto file = read(bytes);
  REQUIRE(file.ok());
  CHECK(*file->get_uint("positive") == 7);
  CHECK(*file->get_float("negative") == -7.0);
  CHECK(*file->get_uint("true") == 1);
  CHECK(file->get_uint("negative").error().message() ==
        "test.gguf: key 'negative' is i32 -7, expected a whole number, not negative");
  CHECK_CONTAINS(file->get_int("huge").error().message(), "u64 18446744073709551615");
  CHECK_CONTAINS(file->get_uint("float").error().message(), "f32 7");
  CHECK_CONTAINS(file->get_uint("text").error().message(), "string '7\\x0a'");
  CHECK_CONTAINS(file->get_float("text").error().message(), "expected a number");
  CHECK_CONTAINS(file->get_bool("number").error().message(), "u32 7, expected true or false");
  CHECK_CONTAINS(file->get_string("number").error().message(), "expected a string");
  CHECK_CONTAINS(file->get_uint("mixed").error().message(), "array of 2 × i32");
  CHECK_CONTAINS(file->get_uint_array("mixed").error().message(), "none negative");
  CHECK_CONTAINS(file->get_uint_array("number").error().message(), "expected an array");
  CHECK_CONTAINS(file->get_float_array("text").error().message(), "expected an array of numbers");
  CHECK_CONTAINS(file->get_string_array("mixed").error().message(), "an array of strings");
  CHECK_CONTAINS(file->find("mixed")->as_array_of_arrays().error().message(), "array of arrays");
}

TEST_CASE("a missing key is an error or the fallback, a wrong type always an error") {
  const auto bytes = GgufBuilder().text("text", "x").build();
  const auto file = read(bytes);
  REQUIRE(file.ok());
  CHECK(file->find("absent") == nullptr);
  CHECK(file->get_uint("absent").error().message() == "test.gguf: key 'absent' is missing");
  CHECK(*file->get_uint_or("absent", 5) == 5);
  CHECK(*file->get_int_or("absent", -5) == -5);
  CHECK(*file->get_float_or("absent", 0.5) == 0.5);
  CHECK(*file->get_bool_or("absent", true) == true);
  CHECK(*file->get_string_or("absent", "y") == "y");
  CHECK(*file->get_string_or("text", "y") == "x");
  CHECK_FALSE(file->get_uint_or("text", 5).ok());
  CHECK_FALSE(file->get_bool_or("text", true).ok());
}

TEST_CASE("tensors are views of the file, in its order") {
  std::vector<std::uint8_t> data(3 * 68);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::uint8_t>(i);
  for (const std::uint32_t version : {2u, 3u}) {
    GgufBuilder b;
    b.version = version;
    b.tensor("second", DType::F32, {5}, zeros(20)).tensor("first", DType::Q8_0, {64, 3}, data);
    const auto bytes = b.build();
    const auto file = read(bytes);
    REQUIRE_MESSAGE(file.ok(), file.error().message());
    CHECK(file->version() == version);
    CHECK(file->alignment() == 32);
    CHECK(file->mapping() == nullptr);
    REQUIRE(file->tensors().size() == 2);
    CHECK(file->tensors()[0].name == "second");
    const TensorView* tensor = file->find_tensor("first");
    REQUIRE(tensor != nullptr);
    CHECK(tensor->type == DType::Q8_0);
    CHECK(tensor->shape == std::vector<std::uint64_t>{64, 3});
    CHECK(tensor->elements() == 192);
    CHECK(tensor->row_length() == 64);
    CHECK(tensor->rows() == 3);
    CHECK(tensor->data.data() >= bytes.data());
    CHECK(std::vector<std::uint8_t>(tensor->data.begin(), tensor->data.end()) == data);
    CHECK(file->find_tensor("third") == nullptr);
  }
}

TEST_CASE("the alignment of the file is obeyed") {
  for (const std::uint32_t alignment : {8u, 64u, 4096u}) {
    GgufBuilder b;
    b.alignment = alignment;
    b.u32("general.alignment", alignment);
    b.tensor("a", DType::F16, {1}, {1, 2}).tensor("b", DType::F16, {1}, {3, 4});
    const auto bytes = b.build();
    const auto file = read(bytes);
    REQUIRE_MESSAGE(file.ok(), file.error().message());
    CHECK(file->alignment() == alignment);
    CHECK(file->find_tensor("b")->data[0] == 3);
  }
}

TEST_CASE("a file with a vocabulary and no tensors is fine") {
  const auto bytes = GgufBuilder().texts("tokens", {"a"}).build();
  CHECK(read(bytes).ok());
  const auto empty = GgufBuilder().build();
  CHECK(read(empty).ok());
}

TEST_CASE("an open file can be moved, with all its views") {
  auto bytes = sample().build();
  auto file = read(bytes);
  REQUIRE(file.ok());
  const File moved = *std::move(file);
  CHECK(*moved.get_uint("gemma3.block_count") == 18);
  CHECK(moved.find_tensor("blk.0.w")->rows() == 3);
}

TEST_CASE("a file on disk is mapped and stays mapped when moved") {
  auto opened = File::open(data_path("tiny-gemma3.gguf"));
  REQUIRE_MESSAGE(opened.ok(), opened.error().message());
  const File file = *std::move(opened);
  REQUIRE(file.mapping() != nullptr);
  CHECK(file.mapping()->is_mapped());
  CHECK(*file.get_string("general.architecture") == "gemma3");
  CHECK(touch(file) > 0);
}

TEST_CASE("something else than GGUF is refused by what it seems to be") {
  const auto text = [](const std::string& s) {
    return refusal(std::vector<std::uint8_t>(s.begin(), s.end()));
  };
  CHECK_CONTAINS(text("<!DOCTYPE html>"), "is not a GGUF file, it begins with '<!DOCTYPE html>'");
  CHECK_CONTAINS(text("<html>"), "a web page");
  CHECK_CONTAINS(text("version https://git-lfs.github.com/spec/v1"), "Git LFS pointer");
  CHECK_CONTAINS(text("PK\x03\x04xxxx"), "zip archive");
  CHECK_CONTAINS(text(std::string("\x40\0\0\0\0\0\0\0{\"a\":1}", 15)), "safetensors");
  CHECK_CONTAINS(text(std::string("\x1c\0\0\0TFL3", 8)), "LiteRT");
  CHECK_CONTAINS(text("tjgg\x01"), "old ggml");
  CHECK_CONTAINS(text(std::string(64, '\0')), "zeros");
  CHECK_CONTAINS(text("GG"), "it begins with 'GG'");
  CHECK_CONTAINS(text("hello\x1b[31m"), "'hello\\x1b[31m'");
}

TEST_CASE("other versions and big-endian files are refused") {
  GgufBuilder b;
  b.version = 1;
  CHECK_CONTAINS(refusal(b), "is GGUF version 1, expected 2 or 3; convert the model again");
  b.version = 4;
  CHECK_CONTAINS(refusal(b), "is GGUF version 4, expected 2 or 3; a newer gemma.hpp");
  b.version = 0;
  CHECK_CONTAINS(refusal(b), "version 0");
  b.version = 0x03000000;
  CHECK_CONTAINS(refusal(b), "big-endian");
  CHECK(read(b.build()).error().code() == ErrorCode::unsupported);
}

TEST_CASE("counts that the file cannot hold are refused before anything is allocated") {
  GgufBuilder b = sample();
  b.tensor_count = ~std::uint64_t{0};
  CHECK_CONTAINS(refusal(b), "claims 18446744073709551615 tensors, but only");
  b.tensor_count.reset();
  b.entry_count = 1'000'000'000;
  CHECK_CONTAINS(refusal(b), "claims 1000000000 metadata keys, but only");
  b.entry_count = 7 + 1;
  CHECK_FALSE(read(b.build()).ok());

  const auto array_of = [](ValueType element, std::uint64_t count) {
    return refusal(GgufBuilder().raw("k", ValueType::array, GgufBytes().array(element, count)));
  };
  constexpr std::uint64_t huge = std::uint64_t{1} << 61;
  CHECK_CONTAINS(array_of(ValueType::u64, huge), "array elements in key 'k', but only 0 bytes");
  CHECK_CONTAINS(array_of(ValueType::string, huge), "array elements in key 'k'");
  CHECK_CONTAINS(array_of(ValueType::array, huge), "array elements in key 'k'");
  CHECK_CONTAINS(array_of(ValueType::u8, 1), "claims 1 array elements");
}

TEST_CASE("lengths of strings and names are checked") {
  CHECK_CONTAINS(
      refusal(GgufBuilder().raw("k", ValueType::string, GgufBytes().number(~std::uint64_t{0}))),
      "while reading key 'k': 18446744073709551615 bytes needed, 0 left");
  CHECK_CONTAINS(refusal(GgufBuilder().u32("", 1)), "the name of key 0 has 0 bytes");
  CHECK_CONTAINS(refusal(GgufBuilder().u32(std::string(65536, 'k'), 1)),
                 "the name of key 0 has 65536 bytes, expected 1 to 65535");
  CHECK_CONTAINS(refusal(GgufBuilder().tensor("", DType::F32, {1}, zeros(4))),
                 "the name of tensor 0 has 0 bytes");
}

TEST_CASE("unknown value types are refused") {
  CHECK_CONTAINS(refusal(GgufBuilder().raw("k", 13, GgufBytes().number(0))),
                 "key 'k' has value type 13, expected 0 to 12");
  CHECK_CONTAINS(
      refusal(GgufBuilder().raw("k", ValueType::array,
                                GgufBytes().number<std::uint32_t>(99).number<std::uint64_t>(0))),
      "the elements of key 'k' has value type 99");
}

TEST_CASE("arrays nest four deep and no deeper") {
  const auto nested = [](int depth) {
    GgufBytes bytes;
    for (int i = 1; i < depth; ++i) bytes.array(ValueType::array, 1);
    bytes.array(ValueType::u8, 0);
    return GgufBuilder().raw("deep", ValueType::array, bytes).build();
  };
  CHECK(read(nested(4)).ok());
  CHECK_CONTAINS(refusal(nested(5)), "key 'deep' nests arrays deeper than 4");
  CHECK_CONTAINS(refusal(nested(10000)), "key 'deep' nests arrays deeper than 4");
}

TEST_CASE("booleans are 0 or 1") {
  CHECK_CONTAINS(refusal(GgufBuilder().number<std::uint8_t>("k", ValueType::boolean, 2)),
                 "key 'k' has a boolean of value 2, expected 0 or 1");
  CHECK_CONTAINS(refusal(GgufBuilder().numbers<std::uint8_t>("k", ValueType::boolean, {1, 255})),
                 "boolean of value 255");
}

TEST_CASE("a bad alignment is refused") {
  for (const std::uint32_t bad : {0u, 1u, 4u, 12u, 33u, 0x80000000u}) {
    CHECK_CONTAINS(refusal(GgufBuilder().u32("general.alignment", bad)),
                   "key 'general.alignment' is " + std::to_string(bad) +
                       ", expected a power of two from 8");
  }
  CHECK_CONTAINS(refusal(GgufBuilder().text("general.alignment", "32")),
                 "is string '32', expected a u32");
  CHECK_CONTAINS(refusal(GgufBuilder().number<std::uint64_t>("general.alignment",
                                                             ValueType::u64, 32)),
                 "is u64 32, expected a u32");
}

TEST_CASE("keys and tensors that appear twice are refused") {
  CHECK_CONTAINS(refusal(GgufBuilder().u32("k", 1).text("k", "x")), "key 'k' appears twice");
  CHECK_CONTAINS(refusal(GgufBuilder()
                             .tensor("w", DType::F32, {1}, zeros(4))
                             .tensor("w", DType::F32, {1}, zeros(4))),
                 "tensor 'w' appears twice");
}

TEST_CASE("shapes are checked") {
  const auto shape = [](const std::vector<std::uint64_t>& dims) {
    return refusal(GgufBuilder().tensor("w", DType::F32, dims, zeros(64)));
  };
  constexpr std::uint64_t huge = std::uint64_t{1} << 32;
  CHECK(shape({2, 2, 2, 2}) == "(accepted)");
  CHECK_CONTAINS(shape({}), "tensor 'w' has 0 dimensions, expected 1 to 4");
  CHECK_CONTAINS(shape({1, 1, 1, 1, 1}), "tensor 'w' has 5 dimensions, expected 1 to 4");
  CHECK_CONTAINS(shape({4, 0}), "tensor 'w' has a dimension of 0: [4, 0]");
  CHECK_CONTAINS(shape({huge, huge}), "more elements than any file: [4294967296, 4294967296]");
  CHECK_CONTAINS(shape({~std::uint64_t{0}}), "more elements than any file");
  CHECK_CONTAINS(shape({huge, huge / 4}), "exceeds the file");
  CHECK_CONTAINS(refusal(GgufBuilder().tensor("w", DType::Q4_K, {640, 2}, zeros(720))),
                 "tensor 'w' (Q4_K [640, 2]) a row of 640 numbers is not whole Q4_K blocks of 256");
}

TEST_CASE("number formats that cannot be decoded are named") {
  const auto format = [](std::uint32_t raw) {
    return refusal(GgufBuilder().tensor("w", raw, {256}, zeros(256)));
  };
  CHECK_CONTAINS(format(16), "tensor 'w' has number format 16 (IQ2_XXS); supported are F32, F16");
  CHECK_CONTAINS(format(26), "number format 26 (I32)");
  CHECK_CONTAINS(format(4), "number format 4 (unknown)");
  CHECK_CONTAINS(format(0xFFFFFFFF), "number format 4294967295 (unknown)");
  const auto bytes = GgufBuilder().tensor("w", 39u, {256}, zeros(256)).build();
  CHECK(read(bytes).error().code() == ErrorCode::unsupported);
}

TEST_CASE("data must be aligned, inside the file, and belong to one tensor") {
  const auto offset = [](std::uint64_t o) {
    return refusal(GgufBuilder().tensor("a", DType::F32, {8}, zeros(32)).tensor(
        "b", DType::F32, {8}, zeros(32), o));
  };
  CHECK(offset(32) == "(accepted)");
  CHECK_CONTAINS(offset(36), "tensor 'b' (F32 [8]) begins at offset 36, not a multiple of the "
                             "alignment 32");
  CHECK_CONTAINS(offset(0), "overlaps tensor");
  CHECK_CONTAINS(offset(64), "tensor 'b' (F32 [8]) of 1 rows of 32 bytes at offset 64 after byte ");
  CHECK_CONTAINS(offset(64), "exceeds the file, which has");
  CHECK_CONTAINS(offset(~std::uint64_t{31}), "exceeds the file");
  CHECK_CONTAINS(refusal(GgufBuilder().tensor("a", DType::F32, {16}, zeros(64)).tensor(
                     "b", DType::F32, {8}, {}, 32)),
                 "tensor 'b' (F32 [8]) overlaps tensor 'a'");
}

TEST_CASE("names in messages cannot write to the terminal") {
  CHECK_CONTAINS(refusal(GgufBuilder().raw("\x1b[2J\xff", 77, {})), "key '\\x1b[2J\\xff'");
  const std::string message = refusal(GgufBuilder().raw(std::string(1000, 'k'), 77, {}));
  CHECK(message.size() < 300);
}

TEST_CASE("a file cut at any byte is refused") {
  const auto whole = sample().build();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const std::vector<std::uint8_t> cut(whole.data(), whole.data() + size);
    CAPTURE(size);
    const auto file = read(cut);
    REQUIRE_FALSE(file.ok());
    REQUIRE_FALSE(file.error().message().empty());
  }
  CHECK(read(whole).ok());
}

TEST_CASE("damaged files give an error or a readable file") {
  const auto whole = sample().build();
  std::uint64_t state = 88172645463325252u;
  const auto random = [&state](std::uint64_t below) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % below;
  };
  std::uint64_t sum = 0;
  int accepted = 0;
  const auto use = [&](const std::vector<std::uint8_t>& bytes) {
    const std::vector<std::uint8_t> exact(bytes);  // no spare capacity to hide an overrun
    const auto file = read(exact);
    if (!file.ok()) return;
    ++accepted;
    sum += touch(*file);
  };
  for (std::size_t bit = 0; bit < 8 * whole.size(); ++bit) {
    auto bytes = whole;
    bytes[bit / 8] = static_cast<std::uint8_t>(bytes[bit / 8] ^ (1u << (bit % 8)));
    use(bytes);
  }
  constexpr std::uint8_t tempting[] = {0x00, 0x01, 0x7F, 0x80, 0xFF};
  for (int i = 0; i < 20000; ++i) {
    auto bytes = whole;
    for (std::uint64_t n = random(4) + 1; n > 0; --n) {
      const auto at = static_cast<std::size_t>(random(bytes.size()));
      switch (random(4)) {
        case 0: bytes[at] = static_cast<std::uint8_t>(random(256)); break;
        case 1: bytes[at] = tempting[random(5)]; break;
        case 2: bytes.resize(at + 1); break;
        default:
          bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                       static_cast<std::uint8_t>(random(256)));
      }
    }
    use(bytes);
  }
  CHECK(accepted > 100);
  CHECK(sum > 0);
}

TEST_CASE("the real model opens and holds what it should") {
  const std::string path = real_model_path();
  if (path.empty()) {
    MESSAGE("skipped: no real model; tools/get_model downloads it");
    return;
  }
  const auto file = File::open(path);
  REQUIRE_MESSAGE(file.ok(), file.error().message());
  CHECK(*file->get_string("general.architecture") == "gemma3");
  CHECK(*file->get_uint("gemma3.block_count") == 18);
  CHECK(file->get_string_array("tokenizer.ggml.tokens")->size() == 262144);
  CHECK(file->get_float_array("tokenizer.ggml.scores")->size() == 262144);
  CHECK(file->tensors().size() == 236);
  const TensorView* embedding = file->find_tensor("token_embd.weight");
  REQUIRE(embedding != nullptr);
  CHECK(embedding->type == DType::Q8_0);
  CHECK(embedding->shape == std::vector<std::uint64_t>{640, 262144});
}
