// Bodies of zip.hpp. No offset, length or count of the file is used unchecked.
#ifndef GEMMA_FORMATS_IMPL_ZIP_INL_HPP_
#define GEMMA_FORMATS_IMPL_ZIP_INL_HPP_

#include <algorithm>
#include <array>
#include <cstddef>
#include <set>
#include <utility>

#include "gemma/base/bytes.hpp"
#include "gemma/formats/inflate.hpp"
#include "gemma/formats/metadata.hpp"
#include "gemma/formats/zip.hpp"

GEMMA_NAMESPACE_BEGIN
namespace zip {
namespace detail {

inline constexpr std::uint32_t kLocalMark = 0x04034B50;
inline constexpr std::uint32_t kEntryMark = 0x02014B50;
inline constexpr std::uint32_t kEndMark = 0x06054B50;
inline constexpr std::uint32_t kWideEndMark = 0x06064B50;
inline constexpr std::uint32_t kWidePlaceMark = 0x07064B50;
inline constexpr std::size_t kLocalBytes = 30;
inline constexpr std::size_t kEntryBytes = 46;
inline constexpr std::size_t kEndBytes = 22;
inline constexpr std::size_t kWideEndBytes = 56;
inline constexpr std::size_t kWidePlaceBytes = 20;

/// Where the table is, and how many entries it has.
struct Directory {
  std::uint64_t offset = 0;
  std::uint64_t count = 0;
};

class Reader {
 public:
  Reader(Bytes bytes, const std::string& name) : bytes_(bytes), name_(name) {}

  Result<std::vector<Entry>> read() const {
    constexpr std::uint64_t kMostEntries = 10'000;
    GEMMA_TRY_ASSIGN(const Directory directory, find_directory());
    if (directory.count > kMostEntries) {
      return error(directory.offset, "claims " + std::to_string(directory.count) +
                                         " entries, expected at most " +
                                         std::to_string(kMostEntries));
    }
    std::vector<Entry> entries;
    std::set<std::string> names;
    std::uint64_t at = directory.offset;
    for (std::uint64_t i = 0; i < directory.count; ++i) {
      GEMMA_TRY_ASSIGN(Entry entry, read_entry(at));
      if (!names.insert(entry.name).second) {
        return error(at, "entry '" + gguf::printable(entry.name) + "' appears twice");
      }
      entries.push_back(std::move(entry));
    }
    return entries;
  }

 private:
  template <class T>
  T number(std::uint64_t at) const {
    return load_le<T>(bytes_.data() + static_cast<std::size_t>(at));
  }
  bool inside(std::uint64_t at, std::uint64_t size) const {
    return at <= bytes_.size() && size <= bytes_.size() - at;
  }
  bool marked(std::uint64_t at, std::uint64_t size, std::uint32_t mark) const {
    return inside(at, size) && number<std::uint32_t>(at) == mark;
  }

  Error error(std::uint64_t at, const std::string& what) const {
    return Error(ErrorCode::format, name_ + ": " + what + " (at offset " + std::to_string(at) + ")");
  }
  Error damaged(std::uint64_t at, const std::string& what) const {
    return error(at, "there is no " + what + " where the zip archive should have one; is the download "
                                             "complete?");
  }

  /// The end record is last but for a comment; large archives have another before it.
  Result<Directory> find_directory() const {
    constexpr std::uint64_t kLongestComment = 65535;
    const std::uint64_t size = bytes_.size();
    std::uint64_t at = size - (std::min)(size, std::uint64_t{kEndBytes});
    const std::uint64_t first = at - (std::min)(at, kLongestComment);
    while (at > first && !marked(at, kEndBytes, kEndMark)) --at;
    if (!marked(at, kEndBytes, kEndMark)) return damaged(at, "table of contents at the end");
    Directory directory{number<std::uint32_t>(at + 16), number<std::uint16_t>(at + 10)};
    if (at < kWidePlaceBytes || !marked(at - kWidePlaceBytes, kWidePlaceBytes, kWidePlaceMark)) {
      return directory;
    }
    const auto place = number<std::uint64_t>(at - kWidePlaceBytes + 8);
    if (!marked(place, kWideEndBytes, kWideEndMark)) return damaged(place, "end record (of zip64)");
    return Directory{number<std::uint64_t>(place + 48), number<std::uint64_t>(place + 32)};
  }

  /// The entry at `at`, which moves on to the next.
  Result<Entry> read_entry(std::uint64_t& at) const {
    constexpr std::uint16_t kEncrypted = 1;
    if (!marked(at, kEntryBytes, kEntryMark)) return damaged(at, "entry of the table");
    const auto name_size = number<std::uint16_t>(at + 28);
    const auto extra_size = number<std::uint16_t>(at + 30);
    const std::uint64_t rest =
        std::uint64_t{name_size} + extra_size + number<std::uint16_t>(at + 32);
    if (!inside(at + kEntryBytes, rest)) return damaged(at, "name of an entry");
    const auto name_at = static_cast<std::size_t>(at) + kEntryBytes;
    Entry entry{std::string(reinterpret_cast<const char*>(bytes_.data()) + name_at, name_size),
                number<std::uint16_t>(at + 10), number<std::uint32_t>(at + 16),
                number<std::uint32_t>(at + 24), Bytes()};
    std::uint64_t packed = number<std::uint32_t>(at + 20);
    std::uint64_t local = number<std::uint32_t>(at + 42);
    read_wide_numbers(at + kEntryBytes + name_size, extra_size, {&entry.size, &packed, &local});
    const std::string what = "entry '" + gguf::printable(entry.name) + "'";
    if ((number<std::uint16_t>(at + 8) & kEncrypted) != 0) {
      return Error(ErrorCode::unsupported, name_ + ": " + what + " is encrypted");
    }
    if (!marked(local, kLocalBytes, kLocalMark)) return damaged(local, "head of " + what);
    const std::uint64_t begin = local + kLocalBytes + number<std::uint16_t>(local + 26) +
                                number<std::uint16_t>(local + 28);
    if (!inside(begin, packed)) {
      return error(local, what + " of " + std::to_string(packed) +
                              " bytes exceeds the file, which has " + std::to_string(bytes_.size()) +
                              "; is the download complete?");
    }
    if (entry.method == 0 && packed != entry.size) {
      return error(local, what + " is stored, but has two sizes, " + std::to_string(packed) + " and " +
                              std::to_string(entry.size));
    }
    entry.data = bytes_.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(packed));
    at += kEntryBytes + rest;
    return entry;
  }

  /// Numbers that do not fit 32 bits stand, in this order, in the extra field 1.
  void read_wide_numbers(std::uint64_t at, std::uint64_t size,
                         const std::array<std::uint64_t*, 3>& numbers) const {
    constexpr std::uint64_t kWide = 0xFFFFFFFF;
    while (size >= 4) {
      const auto id = number<std::uint16_t>(at);
      const std::uint64_t length = number<std::uint16_t>(at + 2);
      if (length > size - 4) return;
      std::uint64_t from = at + 4, left = length;
      for (std::uint64_t* n : numbers) {
        if (id != 1 || *n != kWide || left < 8) continue;
        *n = number<std::uint64_t>(from);
        from += 8;
        left -= 8;
      }
      at += 4 + length;
      size -= 4 + length;
    }
  }

  Bytes bytes_;
  const std::string& name_;
};

/// CRC-32 as zip has it, by nibbles.
inline std::uint32_t checksum(Bytes bytes) {
  constexpr std::uint32_t kNibbles[] = {0x00000000, 0x1DB71064, 0x3B6E20C8, 0x26D930AC,
                                        0x76DC4190, 0x6B6B51F4, 0x4DB26158, 0x5005713C,
                                        0xEDB88320, 0xF00F9344, 0xD6D6A3E8, 0xCB61B38C,
                                        0x9B64C2B0, 0x86D3D2D4, 0xA00AE278, 0xBDBDF21C};
  std::uint32_t sum = 0xFFFFFFFF;
  for (const std::uint8_t byte : bytes) {
    sum ^= byte;
    sum = sum >> 4 ^ kNibbles[sum & 15];
    sum = sum >> 4 ^ kNibbles[sum & 15];
  }
  return ~sum;
}

}  // namespace detail

GEMMA_INLINE Result<std::vector<Entry>> read_entries(Bytes archive, const std::string& name) {
  return detail::Reader(archive, name).read();
}

GEMMA_INLINE Result<AlignedArray<std::uint8_t>> unpack(const Entry& entry,
                                                       const std::string& name) {
  constexpr std::uint16_t kDeflated = 8;
  const std::string what = name + ": entry '" + gguf::printable(entry.name) + "'";
  if (entry.method != kDeflated) {
    return Error(ErrorCode::unsupported, what + " is packed by method " +
                                             std::to_string(entry.method) +
                                             "; expected 0 (stored) or 8 (deflated)");
  }
  GEMMA_TRY_ASSIGN(AlignedArray<std::uint8_t> content, inflate(entry.data, entry.size, what));
  if (detail::checksum(Bytes(content.data(), content.size())) != entry.checksum) {
    return Error(ErrorCode::format,
                 what + " is damaged: its checksum is another than it says; download the file again");
  }
  return content;
}

}  // namespace zip
GEMMA_NAMESPACE_END

#endif  // GEMMA_FORMATS_IMPL_ZIP_INL_HPP_
