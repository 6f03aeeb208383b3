// Builds MediaPipe's weight files in memory: the flatbuffer, protocol buffers, and where the bytes lie.
#ifndef GEMMA_TESTS_FORMATS_TFL_BUILDER_HPP_
#define GEMMA_TESTS_FORMATS_TFL_BUILDER_HPP_

#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <vector>

using ByteVector = std::vector<std::uint8_t>;

template <class T>
void append_number(ByteVector& out, T value) {
  std::uint8_t raw[sizeof(T)];
  std::memcpy(raw, &value, sizeof value);
  out.insert(out.end(), raw, raw + sizeof raw);
}

/// Any numbers as the bytes they are.
template <class T>
ByteVector bytes_of_numbers(const std::vector<T>& numbers) {
  ByteVector out;
  for (const T number : numbers) append_number(out, number);
  return out;
}

inline ByteVector bytes_of_text(const std::string& text) { return {text.begin(), text.end()}; }

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

 private:
  /// Writes itself to the end, and gives its place.
  using Child = std::function<std::size_t(ByteVector&)>;
  /// A field of a table: a number in it, or a child behind it.
  struct Field {
    std::size_t slot;
    ByteVector value;
    Child child;
  };

  template <class T>
  static void store(ByteVector& out, std::size_t at, T value) {
    std::memcpy(out.data() + at, &value, sizeof value);
  }
  template <class T>
  static ByteVector number(T value) {
    ByteVector out;
    append_number(out, value);
    return out;
  }

  static std::size_t table(ByteVector& out, const std::vector<Field>& fields) {
    std::vector<std::uint16_t> offsets(fields.empty() ? 0 : fields.back().slot + 1);
    std::size_t size = 4;
    for (const Field& f : fields) {
      offsets[f.slot] = static_cast<std::uint16_t>(size);
      size += f.child ? 4 : f.value.size();
    }
    const std::size_t vtable = out.size();
    append_number(out, static_cast<std::uint16_t>(4 + 2 * offsets.size()));
    append_number(out, static_cast<std::uint16_t>(size));
    for (const std::uint16_t offset : offsets) append_number(out, offset);
    const std::size_t at = out.size();
    out.resize(at + size);
    store(out, at, static_cast<std::int32_t>(at - vtable));
    for (const Field& f : fields) {
      const std::size_t place = at + offsets[f.slot];
      if (f.child) {
        const std::size_t child = f.child(out);
        store(out, place, static_cast<std::uint32_t>(child - place));
      } else {
        std::memcpy(out.data() + place, f.value.data(), f.value.size());
      }
    }
    return at;
  }

  static Child tables(const std::vector<Child>& children) {
    return [children](ByteVector& out) {
      const std::size_t at = out.size();
      append_number(out, static_cast<std::uint32_t>(children.size()));
      out.resize(out.size() + 4 * children.size());
      for (std::size_t i = 0; i < children.size(); ++i) {
        const std::size_t place = at + 4 + 4 * i;
        const std::size_t child = children[i](out);
        store(out, place, static_cast<std::uint32_t>(child - place));
      }
      return at;
    };
  }
  static Child numbers(const std::vector<std::int32_t>& values) {
    return [values](ByteVector& out) {
      const std::size_t at = out.size();
      append_number(out, static_cast<std::uint32_t>(values.size()));
      for (const std::int32_t value : values) append_number(out, value);
      return at;
    };
  }
  static Child text(const std::string& chars) {
    return [chars](ByteVector& out) {
      const std::size_t at = out.size();
      append_number(out, static_cast<std::uint32_t>(chars.size()));
      out.insert(out.end(), chars.begin(), chars.end());
      out.push_back(0);
      return at;
    };
  }
};

#endif  // GEMMA_TESTS_FORMATS_TFL_BUILDER_HPP_
