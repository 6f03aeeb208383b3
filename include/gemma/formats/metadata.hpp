// One value of a GGUF file's metadata, in place: numbers and text stay in the file's bytes.
// Source: the GGUF specification, "gguf_metadata_value_type".
#ifndef GEMMA_FORMATS_METADATA_HPP_
#define GEMMA_FORMATS_METADATA_HPP_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gemma/base/error.hpp"
#include "gemma/base/span.hpp"

GEMMA_NAMESPACE_BEGIN
namespace gguf {

/// Numbered as in the file.
enum class ValueType : std::uint32_t {
  u8 = 0,       ///< 1 byte
  i8 = 1,       ///< 1 byte, two's complement
  u16 = 2,      ///< 2 bytes
  i16 = 3,      ///< 2 bytes, two's complement
  u32 = 4,      ///< 4 bytes
  i32 = 5,      ///< 4 bytes, two's complement
  f32 = 6,      ///< IEEE 754 binary32
  boolean = 7,  ///< 1 byte; 0 is false
  string = 8,   ///< u64 length, then as many bytes
  array = 9,    ///< u32 type of the elements, u64 count, then the elements
  u64 = 10,     ///< 8 bytes
  i64 = 11,     ///< 8 bytes, two's complement
  f64 = 12      ///< IEEE 754 binary64
};

/// Whether the file's number `raw` is a ValueType.
constexpr bool is_value_type(std::uint32_t raw) { return raw <= 12; }

/// Bytes of a number or boolean; 0 for strings and arrays.
std::size_t value_bytes(ValueType type);

/// "u32", "string", …
const char* value_type_name(ValueType type);

/// A number, a boolean, a string, or an array of one of these or of arrays. The getters convert
/// where nothing is lost, and else return an error that says what the value is.
class Value {
 public:
  /// A number, boolean or string of these bytes, which the caller keeps alive and has checked.
  static Value scalar(ValueType type, Bytes bytes) { return Value(type, type, bytes); }
  /// An array of numbers or booleans, likewise.
  static Value numbers(ValueType element, Bytes bytes) {
    return Value(ValueType::array, element, bytes);
  }
  /// An array of strings, which the caller keeps alive.
  static Value strings(std::vector<std::string_view> elements) {
    Value value(ValueType::array, ValueType::string, {});
    value.strings_ = std::move(elements);
    return value;
  }
  /// An array of arrays.
  static Value arrays(std::vector<Value> elements) {
    Value value(ValueType::array, ValueType::array, {});
    value.arrays_ = std::move(elements);
    return value;
  }

  ValueType type() const { return type_; }                     ///< of an array: ValueType::array
  bool is_array() const { return type_ == ValueType::array; }  ///< of any element type
  /// Of an array: the type of its elements; else type().
  ValueType element_type() const { return element_type_; }
  /// Of an array: the number of elements; else 1.
  std::size_t size() const;
  /// The bytes in the file: a number, a string's text, or all numbers of an array.
  Bytes bytes() const { return bytes_; }

  /// An integer ≥ 0 of any type; a boolean is 0 or 1.
  Result<std::uint64_t> as_uint() const;
  /// An integer of any type that fits; a boolean is 0 or 1.
  Result<std::int64_t> as_int() const;
  /// A number of any type.
  Result<double> as_float() const;
  /// A boolean only: no number counts as one.
  Result<bool> as_bool() const;
  /// Text as the file has it; usually, but not surely, UTF-8.
  Result<std::string_view> as_string() const;

  /// Arrays, element by element as above. Numbers are copied, strings and arrays are not.
  Result<std::vector<std::uint64_t>> as_uint_array() const;
  Result<std::vector<std::int64_t>> as_int_array() const;  ///< by as_int()
  Result<std::vector<double>> as_float_array() const;      ///< by as_float()
  /// Views, valid while this value is.
  Result<Span<const std::string_view>> as_string_array() const;
  /// Views, valid while this value is.
  Result<Span<const Value>> as_array_of_arrays() const;

  /// For messages and listings: "u32 18", "string 'gemma3'", "array of 262144 × string".
  std::string describe() const;

 private:
  Value(ValueType type, ValueType element_type, Bytes bytes)
      : type_(type), element_type_(element_type), bytes_(bytes) {}

  ValueType type_;
  ValueType element_type_;
  Bytes bytes_;
  std::vector<std::string_view> strings_;
  std::vector<Value> arrays_;
};

/// Text from a file for a message: all but printable ASCII as `\xNN`, long text cut.
std::string printable(std::string_view text);

}  // namespace gguf
GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/formats/impl/metadata-inl.hpp"
#endif

#endif  // GEMMA_FORMATS_METADATA_HPP_
