// Builds zip archives, .litertlm containers and zlib streams in memory.
#ifndef GEMMA_TESTS_FORMATS_BUNDLE_BUILDER_HPP_
#define GEMMA_TESTS_FORMATS_BUNDLE_BUILDER_HPP_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "formats/flat_builder.hpp"

inline void append_bytes(ByteVector& out, const ByteVector& more) { out.insert(out.end(), more.begin(), more.end()); }

/// CRC-32, bit by bit.
inline std::uint32_t zip_checksum(const ByteVector& bytes) {
  std::uint32_t sum = 0xFFFFFFFFu;
  for (const std::uint8_t byte : bytes) {
    sum ^= byte;
    for (int i = 0; i < 8; ++i) sum = sum >> 1 ^ (sum % 2 != 0 ? 0xEDB88320u : 0u);
  }
  return ~sum;
}

/// Public fields are what a test may spoil; the defaults give what MediaPipe's bundler writes.
class ZipBuilder {
 public:
  struct Entry {
    std::string name;
    ByteVector data;             ///< as it lies in the archive
    std::uint16_t method = 0;
    std::uint32_t checksum = 0;
    std::uint64_t size = 0;      ///< unpacked; 0: as many as there are
  };
  std::vector<Entry> entries;
  bool padded = true;   ///< zeros before each entry, so that the data begins at a multiple of 4
  bool wide = false;    ///< the extensions for large archives
  std::uint16_t flags = 0;
  std::string comment;

  void add(const std::string& name, const ByteVector& data) { entries.push_back({name, data, 0, 0, 0}); }

  ByteVector build() const {
    ByteVector out;
    std::vector<std::size_t> places;
    for (const Entry& e : entries) {
      if (padded) out.resize(out.size() + 4 - (out.size() + 30 + e.name.size()) % 4);
      places.push_back(out.size());
      append_number(out, std::uint32_t{0x04034B50});
      head(out, e, wide);
      append_number(out, std::uint16_t{0});
      append_bytes(out, bytes_of_text(e.name));
      append_bytes(out, e.data);
    }
    const std::size_t directory = out.size();
    for (std::size_t i = 0; i < entries.size(); ++i) {
      append_number(out, std::uint32_t{0x02014B50});
      append_number(out, std::uint16_t{20});
      head(out, entries[i], wide);
      append_number(out, static_cast<std::uint16_t>(wide ? 28 : 0));
      out.resize(out.size() + 10);
      append_number(out, wide ? 0xFFFFFFFFu : static_cast<std::uint32_t>(places[i]));
      append_bytes(out, bytes_of_text(entries[i].name));
      if (!wide) continue;
      append_number(out, std::uint16_t{1});
      append_number(out, std::uint16_t{24});
      append_number(out, size_of(entries[i]));
      append_number(out, static_cast<std::uint64_t>(entries[i].data.size()));
      append_number(out, static_cast<std::uint64_t>(places[i]));
    }
    const std::size_t end = out.size();
    if (wide) {
      append_number(out, std::uint32_t{0x06064B50});
      append_number(out, std::uint64_t{44});
      out.resize(out.size() + 12);
      append_number(out, static_cast<std::uint64_t>(entries.size()));
      append_number(out, static_cast<std::uint64_t>(entries.size()));
      append_number(out, static_cast<std::uint64_t>(end - directory));
      append_number(out, static_cast<std::uint64_t>(directory));
      append_number(out, std::uint32_t{0x07064B50});
      append_number(out, std::uint32_t{0});
      append_number(out, static_cast<std::uint64_t>(end));
      append_number(out, std::uint32_t{1});
    }
    append_number(out, std::uint32_t{0x06054B50});
    append_number(out, std::uint32_t{0});
    const auto count = static_cast<std::uint16_t>(wide ? 0xFFFF : entries.size());
    append_number(out, count);
    append_number(out, count);
    append_number(out, wide ? 0xFFFFFFFFu : static_cast<std::uint32_t>(end - directory));
    append_number(out, wide ? 0xFFFFFFFFu : static_cast<std::uint32_t>(directory));
    append_number(out, static_cast<std::uint16_t>(comment.size()));
    append_bytes(out, bytes_of_text(comment));
    return out;
  }

 private:
  static std::uint64_t size_of(const Entry& e) { return e.size == 0 ? e.data.size() : e.size; }

  /// What both heads of an entry have in common, up to the length of the name.
  void head(ByteVector& out, const Entry& e, bool large) const {
    append_number(out, std::uint16_t{20});
    append_number(out, flags);
    append_number(out, e.method);
    append_number(out, std::uint32_t{0});
    append_number(out, e.checksum);
    append_number(out, large ? 0xFFFFFFFFu : static_cast<std::uint32_t>(e.data.size()));
    append_number(out, large ? 0xFFFFFFFFu : static_cast<std::uint32_t>(size_of(e)));
    append_number(out, static_cast<std::uint16_t>(e.name.size()));
  }
};

/// Likewise; the defaults give what litert-lm-builder writes.
class LitertlmBuilder {
 public:
  struct Section {
    std::uint8_t kind;
    std::string model_type;  ///< empty: no key
    ByteVector data;
  };
  std::vector<Section> sections;
  std::uint32_t major = 1;

  ByteVector build() const {
    using namespace flat;
    constexpr std::size_t kPage = 16384;
    std::vector<std::size_t> places;
    std::vector<Child> objects;
    for (const Section& s : sections) {
      objects.push_back([&s, &places](ByteVector& b) {
        const std::size_t at = table(b, {{0, {}, keys(s)},
                                         {1, flat::number(std::uint64_t{1}), {}},
                                         {2, flat::number(std::uint64_t{1}), {}},
                                         {3, {s.kind}, {}}});
        places.push_back(at + 8);
        return at;
      });
    }
    ByteVector head(4);
    const Child list = [&](ByteVector& b) { return table(b, {{0, {}, flat::tables(objects)}}); };
    const std::size_t root = table(head, {{0, {}, [](ByteVector& b) { return table(b, {}); }}, {1, {}, list}});
    store(head, 0, static_cast<std::uint32_t>(root));
    ByteVector out = bytes_of_text("LITERTLM");
    for (const std::uint32_t n : {major, 7u, 0u, 0u}) append_number(out, n);
    append_number(out, static_cast<std::uint64_t>(32 + head.size()));
    append_bytes(out, head);
    for (std::size_t i = 0; i < sections.size(); ++i) {
      out.resize((out.size() + kPage - 1) / kPage * kPage);
      store(out, 32 + places[i], static_cast<std::uint64_t>(out.size()));
      append_bytes(out, sections[i].data);
      store(out, 32 + places[i] + 8, static_cast<std::uint64_t>(out.size()));
    }
    return out;
  }

 private:
  static flat::Child keys(const Section& s) {
    using namespace flat;
    std::vector<Child> items = {[](ByteVector& b) {
      return table(b, {{0, {}, text("number")}, {1, {std::uint8_t{5}}, {}}, {2, {}, [](ByteVector& inner) {
                                                                       append_number(inner, std::uint32_t{7});
                                                                       return inner.size() - 4;
                                                                     }}});
    }};
    if (!s.model_type.empty()) {
      items.push_back([&s](ByteVector& b) {
        return table(b, {{0, {}, text("model_type")}, {1, {std::uint8_t{9}}, {}}, {2, {}, [&s](ByteVector& inner) {
                                                                             return table(inner, {{0, {}, text(s.model_type)}});
                                                                           }}});
      });
    }
    return flat::tables(items);
  }
};

/// A deflate stream of stored blocks.
inline ByteVector deflate_stored(const ByteVector& data) {
  constexpr std::size_t kMost = 65535;
  ByteVector out;
  for (std::size_t at = 0;;) {
    const std::size_t count = (std::min)(kMost, data.size() - at);
    const bool last = at + count == data.size();
    out.push_back(last ? 1 : 0);
    append_number(out, static_cast<std::uint16_t>(count));
    append_number(out, static_cast<std::uint16_t>(~count));
    out.insert(out.end(), data.begin() + static_cast<std::ptrdiff_t>(at), data.begin() + static_cast<std::ptrdiff_t>(at + count));
    at += count;
    if (last) return out;
  }
}

/// The same with zlib's head and checksum.
inline ByteVector zlib_stored(const ByteVector& data) {
  ByteVector out = {0x78, 0x01};
  append_bytes(out, deflate_stored(data));
  std::uint32_t a = 1, b = 0;
  for (const std::uint8_t byte : data) {
    a = (a + byte) % 65521;
    b = (b + a) % 65521;
  }
  for (const std::uint32_t half : {b, a}) {
    out.push_back(static_cast<std::uint8_t>(half >> 8));
    out.push_back(static_cast<std::uint8_t>(half));
  }
  return out;
}

#endif  // GEMMA_TESTS_FORMATS_BUNDLE_BUILDER_HPP_
