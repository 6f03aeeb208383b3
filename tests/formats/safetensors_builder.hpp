// Makes safetensors files for tests, byte by byte.
#ifndef GEMMA_TESTS_FORMATS_SAFETENSORS_BUILDER_HPP_
#define GEMMA_TESTS_FORMATS_SAFETENSORS_BUILDER_HPP_

#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "gemma/base/float16.hpp"

class SafetensorsBuilder {
 public:
  /// `type`: "F32", "F16" or "BF16"; numbers are rounded to it.
  void add(const std::string& name, const std::vector<std::uint64_t>& shape,
           const std::vector<float>& numbers, const std::string& type = "F32") {
    const std::size_t begin = data_.size();
    for (const float x : numbers) {
      if (type == "F32") put(x);
      if (type == "F16") put(gemma::half_from_float(x));
      if (type == "BF16") put(gemma::bfloat16_from_float(x));
    }
    header_[name] = {{"dtype", type}, {"shape", shape}, {"data_offsets", {begin, data_.size()}}};
  }

  /// The description of a tensor, to make it wrong.
  nlohmann::json& entry(const std::string& name) { return header_[name]; }

  /// `padding`: spaces after the header; an odd number puts the data at odd addresses.
  std::string bytes(std::size_t padding = 0) const {
    const std::string header = header_.dump() + std::string(padding, ' ');
    const std::uint64_t length = header.size();
    std::string out(sizeof length, '\0');
    std::memcpy(out.data(), &length, sizeof length);
    return out + header + data_;
  }

 private:
  template <class T>
  void put(T value) {
    data_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }

  nlohmann::json header_ = {{"__metadata__", {{"format", "pt"}}}};
  std::string data_;
};

#endif  // GEMMA_TESTS_FORMATS_SAFETENSORS_BUILDER_HPP_
