// Writes flatbuffers: tables and their children, one behind the other.
#ifndef GEMMA_TESTS_FORMATS_FLAT_BUILDER_HPP_
#define GEMMA_TESTS_FORMATS_FLAT_BUILDER_HPP_

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

namespace flat {

/// Writes itself to the end, and gives its place.
using Child = std::function<std::size_t(ByteVector&)>;
/// A field of a table: a number in it, or a child behind it.
struct Field {
  std::size_t slot;
  ByteVector value;
  Child child;
};

template <class T>
void store(ByteVector& out, std::size_t at, T value) {
  std::memcpy(out.data() + at, &value, sizeof value);
}
template <class T>
ByteVector number(T value) {
  ByteVector out;
  append_number(out, value);
  return out;
}

inline std::size_t table(ByteVector& out, const std::vector<Field>& fields) {
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

inline Child tables(const std::vector<Child>& children) {
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
inline Child numbers(const std::vector<std::int32_t>& values) {
  return [values](ByteVector& out) {
    const std::size_t at = out.size();
    append_number(out, static_cast<std::uint32_t>(values.size()));
    for (const std::int32_t value : values) append_number(out, value);
    return at;
  };
}
inline Child text(const std::string& chars) {
  return [chars](ByteVector& out) {
    const std::size_t at = out.size();
    append_number(out, static_cast<std::uint32_t>(chars.size()));
    out.insert(out.end(), chars.begin(), chars.end());
    out.push_back(0);
    return at;
  };
}

}  // namespace flat

#endif  // GEMMA_TESTS_FORMATS_FLAT_BUILDER_HPP_
