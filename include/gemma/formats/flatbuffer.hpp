// A reader of flatbuffers, which TFLite and LiteRT-LM write: tables, vectors, texts and numbers, found
// by offsets, none of which is used unchecked.
// Source: the flatbuffers binary format.
#ifndef GEMMA_FORMATS_FLATBUFFER_HPP_
#define GEMMA_FORMATS_FLATBUFFER_HPP_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "gemma/base/bytes.hpp"
#include "gemma/base/error.hpp"
#include "gemma/base/span.hpp"

GEMMA_NAMESPACE_BEGIN
namespace flatbuffer {

/// A table: where it is, and where its fields are listed.
struct Table {
  std::size_t at = 0;      ///< offset of the table
  std::size_t fields = 0;  ///< of the vtable's list
  std::size_t count = 0;   ///< how many it lists
};

/// A vector: where its elements begin, and how many they are.
struct Vector {
  std::size_t begin = 0;  ///< offset of the first element
  std::size_t count = 0;  ///< how many there are
};

/// Follows the offsets of a flatbuffer.
class Reader {
 public:
  /// `name`, for messages, must live on.
  Reader(Bytes bytes, const std::string& name) : bytes_(bytes), name_(name) {}

  Bytes bytes() const { return bytes_; }  ///< the whole of it

  /// The number at `at`.
  template <class T>
  Result<T> number(std::size_t at, const char* what) const {
    if (at > bytes_.size() || bytes_.size() - at < sizeof(T)) return outside(at, what);
    return load_le<T>(bytes_.data() + at);
  }

  /// Where the offset at `at` leads.
  Result<std::size_t> follow(std::size_t at, const char* what) const {
    GEMMA_TRY_ASSIGN(const std::uint32_t distance, number<std::uint32_t>(at, what));
    if (distance >= bytes_.size() - at) return outside(at, what);
    return at + distance;
  }

  /// The table at `at`.
  Result<Table> table(std::size_t at, const char* what) const {
    GEMMA_TRY_ASSIGN(const std::int32_t back, number<std::int32_t>(at, what));
    const std::int64_t place = static_cast<std::int64_t>(at) - back;
    if (place < 0 || static_cast<std::uint64_t>(place) > bytes_.size()) return outside(at, what);
    const auto vtable = static_cast<std::size_t>(place);
    GEMMA_TRY_ASSIGN(const std::uint16_t size, number<std::uint16_t>(vtable, what));
    if (size < 4 || size % 2 != 0 || size > bytes_.size() - vtable) return outside(vtable, what);
    return Table{at, vtable + 4, (size - std::size_t{4}) / 2};
  }

  /// Where a field of a table is; none if it is left out.
  Result<std::optional<std::size_t>> field(const Table& table, std::size_t slot,
                                           const char* what) const {
    using Place = std::optional<std::size_t>;
    if (slot >= table.count) return Place();
    const auto offset = load_le<std::uint16_t>(bytes_.data() + table.fields + 2 * slot);
    if (offset == 0) return Place();
    if (offset >= bytes_.size() - table.at) return outside(table.at, what);
    return Place(table.at + offset);
  }

  /// A field that is a number; `fallback` if it is left out.
  template <class T>
  Result<T> number_or(const Table& table, std::size_t slot, T fallback, const char* what) const {
    GEMMA_TRY_ASSIGN(const std::optional<std::size_t> at, field(table, slot, what));
    if (!at) return fallback;
    return number<T>(*at, what);
  }

  /// A field that is a vector of elements of `bytes` bytes; empty if it is left out.
  Result<Vector> vector(const Table& table, std::size_t slot, std::size_t bytes,
                        const char* what) const {
    GEMMA_TRY_ASSIGN(const std::optional<std::size_t> at, field(table, slot, what));
    if (!at) return Vector();
    GEMMA_TRY_ASSIGN(const std::size_t place, follow(*at, what));
    GEMMA_TRY_ASSIGN(const std::uint32_t count, number<std::uint32_t>(place, what));
    if (count > (bytes_.size() - place - 4) / bytes) return outside(place, what);
    return Vector{place + 4, count};
  }

  /// A table that is an element of a vector.
  Result<Table> element(const Vector& vector, std::size_t i, const char* what) const {
    GEMMA_TRY_ASSIGN(const std::size_t at, follow(vector.begin + 4 * i, what));
    return table(at, what);
  }

  /// A field that is a text of at most 1000 bytes; empty if it is left out.
  Result<std::string> text(const Table& table, std::size_t slot, const char* what) const {
    constexpr std::size_t kLongest = 1000;
    GEMMA_TRY_ASSIGN(const Vector chars, vector(table, slot, 1, what));
    if (chars.count > kLongest) {
      return error(chars.begin, std::string(what) + " has " + std::to_string(chars.count) +
                                    " bytes, expected at most " + std::to_string(kLongest));
    }
    return std::string(reinterpret_cast<const char*>(bytes_.data()) + chars.begin, chars.count);
  }

  /// An error if a vector is longer than was ever meant. Tables may be listed any number of times, so
  /// that the file's size is no limit.
  Status check_count(const Vector& list, std::size_t most, const std::string& what) const {
    if (list.count <= most) return {};
    return error(list.begin, "claims " + std::to_string(list.count) + " " + what +
                                 ", expected at most " + std::to_string(most));
  }

  /// "NAME: WHAT (at offset N)".
  Error error(std::size_t at, const std::string& what) const {
    return Error(ErrorCode::format, name_ + ": " + what + " (at offset " + std::to_string(at) + ")");
  }

 private:
  Error outside(std::size_t at, const char* what) const {
    return error(at, std::string(what) + " is not inside the file, which has " +
                         std::to_string(bytes_.size()) + " bytes; is the download complete?");
  }

  Bytes bytes_;
  const std::string& name_;
};

}  // namespace flatbuffer
GEMMA_NAMESPACE_END

#endif  // GEMMA_FORMATS_FLATBUFFER_HPP_
