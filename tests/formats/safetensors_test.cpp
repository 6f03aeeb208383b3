#include "gemma/formats/safetensors.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "gemma/quant/registry.hpp"
#include "safetensors_builder.hpp"
#include "temp_folder.hpp"

namespace {

using gemma::Bytes;
using gemma::TensorView;
namespace safetensors = gemma::safetensors;

Bytes bytes_of(const std::string& text) {
  return Bytes(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
}

std::vector<float> numbers_of(const TensorView& tensor) {
  std::vector<float> numbers(static_cast<std::size_t>(tensor.elements()));
  gemma::quant::decode_row(tensor.type, tensor.data.data(), numbers.size(), numbers.data());
  return numbers;
}

std::string error_of(const std::string& file) {
  const auto header = safetensors::read_header(bytes_of(file), "file");
  return header.ok() ? "" : header.error().message();
}

std::string folder_error(const TempFolder& folder) {
  const auto opened = safetensors::Folder::open(folder.path());
  return opened.ok() ? "" : opened.error().message();
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("tensors of all three float types are read with their shapes turned round") {
  for (const std::string type : {"F32", "F16", "BF16"}) {
    SafetensorsBuilder builder;
    builder.add("w", {2, 3}, {1.0f, -2.0f, 0.5f, 4.0f, 8.0f, -0.25f}, type);
    for (const std::size_t padding : {0u, 1u, 2u, 3u}) {  // the data begins at any address
      const std::string file = builder.bytes(padding);
      const auto header = safetensors::read_header(bytes_of(file), "file");
      REQUIRE(header.ok());
      REQUIRE(header->tensors.size() == 1);
      const TensorView& w = header->tensors[0];
      CHECK(gemma::quant::dtype_name(w.type) == type);
      CHECK(w.shape == std::vector<std::uint64_t>{3, 2});
      CHECK(numbers_of(w) == std::vector<float>{1.0f, -2.0f, 0.5f, 4.0f, 8.0f, -0.25f});
    }
  }
}

TEST_CASE("a number without dimensions is a tensor of one element") {
  SafetensorsBuilder builder;
  builder.add("scale", {}, {3.0f});
  const std::string file = builder.bytes();
  const auto header = safetensors::read_header(bytes_of(file), "file");
  REQUIRE(header.ok());
  CHECK(header->tensors[0].shape == std::vector<std::uint64_t>{1});
}

TEST_CASE("types that cannot be read are listed apart") {
  SafetensorsBuilder builder;
  builder.add("a", {1}, {1.0f});
  builder.add("b", {1}, {1.0f});
  builder.entry("b")["dtype"] = "F8_E4M3";
  const std::string file = builder.bytes();
  const auto header = safetensors::read_header(bytes_of(file), "file");
  REQUIRE(header.ok());
  CHECK(header->tensors.size() == 1);
  CHECK(header->unsupported.at("b") == "F8_E4M3");
}

TEST_CASE("a file cut anywhere is refused") {
  SafetensorsBuilder builder;
  builder.add("w", {4}, {1.0f, 2.0f, 3.0f, 4.0f});
  const std::string file = builder.bytes();
  REQUIRE(error_of(file).empty());
  for (std::size_t size = 0; size < file.size(); ++size) {
    CHECK(!error_of(file.substr(0, size)).empty());
  }
}

TEST_CASE("descriptions that contradict the bytes are refused with the tensor's name") {
  const auto broken = [](const char* key, const nlohmann::json& value) {
    SafetensorsBuilder builder;
    builder.add("w", {2, 2}, {1.0f, 2.0f, 3.0f, 4.0f});
    builder.entry("w")[key] = value;
    return error_of(builder.bytes());
  };
  CHECK(contains(broken("shape", {2, 3}), "tensor 'w' has 16 bytes, but its shape needs 24"));
  CHECK(contains(broken("shape", {2, 0}), "tensor 'w' has a dimension of 0"));
  CHECK(contains(broken("shape", {-2, 2}), "tensor 'w' has something other than sizes"));
  CHECK(contains(broken("shape", {1ull << 40, 1ull << 40}), "tensor 'w' is too large"));
  CHECK(contains(broken("shape", "large"), "tensor 'w' has no list 'shape'"));
  CHECK(contains(broken("data_offsets", {0, 17}), "tensor 'w' does not lie in the file"));
  CHECK(contains(broken("data_offsets", {16, 0}), "tensor 'w' does not lie in the file"));
  CHECK(contains(broken("data_offsets", {0}), "tensor 'w' does not lie in the file"));
  CHECK(contains(broken("dtype", 7), "tensor 'w' has no 'dtype'"));
}

TEST_CASE("a header that is no JSON, or absurdly long, is refused") {
  std::string file = SafetensorsBuilder().bytes();
  file[8] = '[';
  CHECK(contains(error_of(file), "is not valid JSON (at byte"));
  file[7] = '\x7f';
  CHECK(contains(error_of(file), "is not a safetensors file"));
}

TEST_CASE("shards are found by their index") {
  const TempFolder folder;
  SafetensorsBuilder first, second;
  first.add("a", {1}, {1.0f});
  second.add("b", {1}, {2.0f});
  folder.write("one.safetensors", first.bytes());
  folder.write("two.safetensors", second.bytes());
  folder.write("model.safetensors.index.json",
               R"({"weight_map":{"a":"one.safetensors","b":"two.safetensors"}})");
  const auto opened = safetensors::Folder::open(folder.path());
  REQUIRE(opened.ok());
  CHECK(opened->paths().size() == 2);
  CHECK(numbers_of(*opened->find_tensor("a")) == std::vector<float>{1.0f});
  CHECK(numbers_of(*opened->find_tensor("b")) == std::vector<float>{2.0f});
  CHECK(opened->find_tensor("c") == nullptr);
}

TEST_CASE("what is missing in a folder is named") {
  const TempFolder folder;
  CHECK(contains(folder_error(folder), "holds neither model.safetensors nor"));
  SafetensorsBuilder builder;
  builder.add("a", {1}, {1.0f});
  folder.write("one.safetensors", builder.bytes());
  folder.write("model.safetensors.index.json", R"({"weight_map":{"a":"one.safetensors",
    "b":"two.safetensors"}})");
  CHECK(contains(folder_error(folder), "the shard two.safetensors is missing"));
  folder.write("two.safetensors", SafetensorsBuilder().bytes());
  CHECK(contains(folder_error(folder), "two.safetensors: tensor 'b' is missing"));
  folder.write("two.safetensors", builder.bytes());
  CHECK(contains(folder_error(folder), "tensor 'a' lies in another file of the model, too"));
  folder.write("model.safetensors.index.json", R"({"weight_map":{"a":"../one.safetensors"}})");
  CHECK(contains(folder_error(folder), "no name of a file in this folder"));
  folder.write("model.safetensors.index.json", R"({"metadata":{}})");
  CHECK(contains(folder_error(folder), "key 'weight_map' is missing"));
}
