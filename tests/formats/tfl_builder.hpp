// Builds MediaPipe's weight files in memory: the flatbuffer, protocol buffers, and where the bytes lie.
#ifndef GEMMA_TESTS_FORMATS_TFL_BUILDER_HPP_
#define GEMMA_TESTS_FORMATS_TFL_BUILDER_HPP_

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "formats/flat_builder.hpp"

/// A protocol buffer message.
class ProtoBytes {
 public:
  ProtoBytes& number(std::uint64_t field, std::uint64_t value) { return varint(field << 3).varint(value); }
  ProtoBytes& real(std::uint64_t field, float value) {
    varint(field << 3 | 5);
    append_number(bytes_, value);
    return *this;
  }
  ProtoBytes& bytes(std::uint64_t field, const ByteVector& value) {
    varint(field << 3 | 2).varint(value.size());
    bytes_.insert(bytes_.end(), value.begin(), value.end());
    return *this;
  }
  ProtoBytes& text(std::uint64_t field, const std::string& value) { return bytes(field, bytes_of_text(value)); }
  ProtoBytes& message(std::uint64_t field, const ProtoBytes& value) { return bytes(field, value.bytes_); }
  const ByteVector& take() const { return bytes_; }

 private:
  ProtoBytes& varint(std::uint64_t value) {
    for (; value > 127; value >>= 7) bytes_.push_back(static_cast<std::uint8_t>(value | 128));
    bytes_.push_back(static_cast<std::uint8_t>(value));
    return *this;
  }
  ByteVector bytes_;
};

/// Public fields are what a test may spoil; the defaults give a valid file.
class TflBuilder {
 public:
  struct Tensor {
    std::string name;
    std::uint8_t type;
    std::vector<std::int32_t> shape;
    ByteVector data;
  };
  struct Metadata {
    std::string key;
    std::uint32_t number;  ///< where `data` is empty, in place of a buffer's index
    ByteVector data;
  };

  std::string graph_name = "GEMMA_2B";
  std::vector<Tensor> tensors;
  std::vector<Metadata> metadata;
  std::size_t operators = 0;
  std::size_t alignment = 64;

  Tensor& find(const std::string& name) {
    for (Tensor& tensor : tensors) {
      if (tensor.name == name) return tensor;
    }
    return tensors.emplace_back(Tensor{name, 0, {}, {}});
  }

  ByteVector build() const {
    using namespace flat;
    ByteVector out(8);
    std::memcpy(out.data() + 4, "TFL3", 4);
    // Buffer 0 is empty, as in all TFLite files.
    std::vector<const ByteVector*> payloads = {nullptr};
    std::vector<std::size_t> places;
    std::vector<Child> meta, list, buffers, nothing(operators, [](ByteVector& o) { return table(o, {}); });
    for (const Metadata& m : metadata) {
      std::uint32_t index = m.number;
      if (!m.data.empty()) {
        index = static_cast<std::uint32_t>(payloads.size());
        payloads.push_back(&m.data);
      }
      meta.push_back([&m, index](ByteVector& o) {
        return table(o, {{0, {}, text(m.key)}, {1, number(index), {}}});
      });
    }
    for (const Tensor& t : tensors) {
      const auto index = static_cast<std::uint32_t>(payloads.size());
      payloads.push_back(&t.data);
      list.push_back([&t, index](ByteVector& o) {
        return table(o, {{0, {}, numbers(t.shape)},
                         {1, {t.type}, {}},
                         {2, number(index), {}},
                         {3, {}, text(t.name)}});
      });
    }
    for (const ByteVector* payload : payloads) {
      buffers.push_back([payload, &places](ByteVector& o) {
        if (payload == nullptr) return table(o, {});
        const std::uint64_t size = payload->size();
        const std::size_t at = table(o, {{1, number(std::uint64_t{2}), {}}, {2, number(size), {}}});
        places.push_back(at + 4);
        return at;
      });
    }
    const Child graph = [&](ByteVector& o) {
      return table(o, {{0, {}, tables(list)}, {3, {}, tables(nothing)}, {4, {}, text(graph_name)}});
    };
    const std::size_t root = table(
        out, {{0, number(std::uint32_t{3}), {}}, {2, {}, tables({graph})}, {4, {}, tables(buffers)}, {6, {}, tables(meta)}});
    store(out, 0, static_cast<std::uint32_t>(root));
    for (std::size_t i = 0; i < places.size(); ++i) {
      out.resize((out.size() + alignment - 1) / alignment * alignment);
      store(out, places[i], static_cast<std::uint64_t>(out.size()));
      out.insert(out.end(), payloads[i + 1]->begin(), payloads[i + 1]->end());
    }
    return out;
  }
};

#endif  // GEMMA_TESTS_FORMATS_TFL_BUILDER_HPP_
