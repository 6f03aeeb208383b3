#include "gemma/formats/gguf_writer.hpp"

#include <doctest/doctest.h>

#include <string>
#include <string_view>
#include <vector>

#include "formats/gguf_builder.hpp"
#include "temp_folder.hpp"
#include "test_data.hpp"

namespace {

using gemma::Bytes;
using gemma::DType;
using gemma::gguf::Entry;
using gemma::gguf::File;
using gemma::gguf::Metadata;
using gemma::gguf::TensorInfo;
using gemma::gguf::ValueType;
using gemma::gguf::Writer;

std::vector<std::uint8_t> numbered(std::size_t n) {
  std::vector<std::uint8_t> bytes(n);
  for (std::size_t i = 0; i < n; ++i) bytes[i] = static_cast<std::uint8_t>(i * 7 + 1);
  return bytes;
}

std::vector<std::uint8_t> copy_of(Bytes bytes) { return {bytes.begin(), bytes.end()}; }

}  // namespace

TEST_CASE("what is written is read back: every type of value, tensors at aligned offsets") {
  const TempFolder folder;
  Metadata metadata;
  metadata.add_string("general.architecture", "gemma3");
  metadata.add_uint("n", 7);
  metadata.add_float("x", 0.25f);
  metadata.add_bool("flag", true);
  const std::vector<std::int32_t> ints = {1, -2, 3};
  metadata.add_ints("ints", ints);
  const std::vector<float> floats = {0.5f, -1.0f};
  metadata.add_floats("floats", floats);
  metadata.add_bools("flags", {true, false, true});
  const std::vector<std::string_view> texts = {"", "a\nb", "ü"};
  metadata.add_strings("texts", texts);
  CHECK(metadata.count() == 8);

  const auto first = numbered(3 * 4), second = numbered(2 * 34), third = numbered(144);
  Writer writer = Writer::create(folder.path("out.gguf"), metadata,
                                 {{"first", DType::F32, {3}},
                                  {"second", DType::Q8_0, {32, 2}},
                                  {"third", DType::Q4_K, {256, 1, 1}}})
                      .value();
  REQUIRE(writer.append(first).ok());
  REQUIRE(writer.append(Bytes(second).subspan(0, 34)).ok());
  REQUIRE(writer.append(Bytes(second).subspan(34)).ok());
  REQUIRE(writer.append(third).ok());
  CHECK_FALSE(folder.holds("out.gguf"));
  REQUIRE(writer.finish().ok());

  const File file = File::open(folder.path("out.gguf")).value();
  CHECK(file.version() == 3);
  CHECK(file.get_string("general.architecture").value() == "gemma3");
  CHECK(file.get_uint("n").value() == 7);
  CHECK(file.get_float("x").value() == 0.25);
  CHECK(file.get_bool("flag").value());
  CHECK(file.get_int_array("ints").value() == std::vector<std::int64_t>{1, -2, 3});
  CHECK(file.get_float_array("floats").value() == std::vector<double>{0.5, -1.0});
  CHECK(file.get_uint_array("flags").value() == std::vector<std::uint64_t>{1, 0, 1});
  const auto read = file.get_string_array("texts").value();
  CHECK(std::vector<std::string_view>(read.begin(), read.end()) == texts);
  CHECK(copy_of(file.find_tensor("first")->data) == first);
  CHECK(copy_of(file.find_tensor("second")->data) == second);
  CHECK(file.find_tensor("second")->shape == std::vector<std::uint64_t>{32, 2});
  CHECK(copy_of(file.find_tensor("third")->data) == third);
  for (const gemma::TensorView& tensor : file.tensors()) {
    CHECK(static_cast<std::size_t>(tensor.data.data() - file.bytes().data()) % 32 == 0);
  }
}

TEST_CASE("metadata copied from another file stays the same, byte by byte") {
  GgufBytes nested;
  nested.array(ValueType::array, 2).array(ValueType::u8, 2).number<std::uint8_t>(1).number<std::uint8_t>(2);
  nested.array(ValueType::string, 1).text("deep");
  GgufBuilder builder;
  builder.text("general.architecture", "gemma3")
      .number<std::uint64_t>("u64", ValueType::u64, 1ull << 40)
      .number<std::int8_t>("i8", ValueType::i8, -3)
      .number<double>("f64", ValueType::f64, 0.1)
      .numbers<std::int16_t>("i16s", ValueType::i16, {-1, 2})
      .texts("texts", {"one", "", "three"})
      .numbers<float>("none", ValueType::f32, {})
      .raw("nested", ValueType::array, nested);
  const std::vector<std::uint8_t> bytes = builder.build();
  const File source = File::from_bytes(bytes, "source").value();
  Metadata metadata;
  for (const Entry& entry : source.entries()) metadata.add(entry);
  CHECK(metadata.count() == 8);
  // Behind the magic, the version and two counts.
  const std::string whole(bytes.begin(), bytes.end());
  CHECK(whole.substr(24) == metadata.bytes());
}

TEST_CASE("too much, too little and data without a tensor are refused, and no file is left") {
  const TempFolder folder;
  const std::string path = folder.path("out.gguf");
  const auto create = [&] {
    return Writer::create(path, Metadata(), {{"a", DType::F32, {2}}, {"b", DType::F32, {1}}}).value();
  };
  {
    Writer writer = create();
    const auto status = writer.append(numbered(9));
    REQUIRE_FALSE(status.ok());
    CHECK(status.error().message() == path + ": tensor 'a' gets more than its 8 bytes");
  }
  {
    Writer writer = create();
    REQUIRE(writer.append(numbered(8)).ok());
    const auto status = writer.finish();
    REQUIRE_FALSE(status.ok());
    CHECK(status.error().message() == path + ": tensor 'b' is not complete");
  }
  {
    Writer writer = create();
    REQUIRE(writer.append(numbered(8)).ok());
    REQUIRE(writer.append(numbered(4)).ok());
    CHECK_FALSE(writer.append(numbered(1)).ok());
  }
  CHECK_FALSE(folder.holds("out.gguf"));
  CHECK_FALSE(folder.holds("out.gguf.part"));
}
