// Bodies of metadata.hpp.
#ifndef GEMMA_FORMATS_IMPL_METADATA_INL_HPP_
#define GEMMA_FORMATS_IMPL_METADATA_INL_HPP_

#include <cstdio>
#include <limits>
#include <optional>
#include <type_traits>

#include "gemma/base/bytes.hpp"
#include "gemma/formats/metadata.hpp"

GEMMA_NAMESPACE_BEGIN
namespace gguf {
namespace detail {

/// Calls f with a zero of this type (bool for booleans); f's result for a string or array is a value-initialised one.
template <class F>
auto visit_type(ValueType type, F&& f) -> decltype(f(0)) {
  switch (type) {
    case ValueType::u8: return f(std::uint8_t{});
    case ValueType::i8: return f(std::int8_t{});
    case ValueType::u16: return f(std::uint16_t{});
    case ValueType::i16: return f(std::int16_t{});
    case ValueType::u32: return f(std::uint32_t{});
    case ValueType::i32: return f(std::int32_t{});
    case ValueType::f32: return f(float{});
    case ValueType::boolean: return f(bool{});
    case ValueType::u64: return f(std::uint64_t{});
    case ValueType::i64: return f(std::int64_t{});
    case ValueType::f64: return f(double{});
    case ValueType::string:
    case ValueType::array: break;
  }
  return {};
}

/// The number of type From at p as To, if its value allows it.
template <class To, class From>
std::optional<To> convert_number(const std::uint8_t* p) {
  if constexpr (std::is_same<From, bool>::value) {
    return static_cast<To>(*p != 0);
  } else {
    const From x = load_le<From>(p);
    if constexpr (std::is_floating_point<To>::value) {
      return static_cast<To>(x);
    } else if constexpr (std::is_floating_point<From>::value) {
      return std::nullopt;
    } else if constexpr (std::is_signed<From>::value == std::is_signed<To>::value) {
      return static_cast<To>(x);
    } else if constexpr (std::is_signed<From>::value) {
      if (x < 0) return std::nullopt;
      return static_cast<To>(x);
    } else {
      if (std::uint64_t{x} > static_cast<std::uint64_t>((std::numeric_limits<To>::max)())) {
        return std::nullopt;
      }
      return static_cast<To>(x);
    }
  }
}

/// The same of a type that is not known before.
template <class To>
std::optional<To> convert_number(ValueType type, const std::uint8_t* p) {
  return visit_type(type, [&](auto zero) { return convert_number<To, decltype(zero)>(p); });
}

inline Error mismatch(const Value& value, const char* expected) {
  return Error(ErrorCode::format, "is " + value.describe() + ", expected " + expected);
}

template <class To>
Result<To> scalar_as(const Value& value, const char* expected) {
  if (!value.is_array()) {
    if (const auto x = convert_number<To>(value.type(), value.bytes().data())) return *x;
  }
  return mismatch(value, expected);
}

template <class To>
Result<std::vector<To>> array_as(const Value& value, const char* expected) {
  const std::size_t step = value_bytes(value.element_type());
  if (!value.is_array() || step == 0) return mismatch(value, expected);
  std::vector<To> numbers;
  numbers.reserve(value.size());
  const bool fit = visit_type(value.element_type(), [&](auto zero) {
    for (const std::uint8_t *p = value.bytes().data(), *end = value.bytes().end(); p < end; p += step) {
      const auto x = convert_number<To, decltype(zero)>(p);
      if (!x) return false;
      numbers.push_back(*x);
    }
    return true;
  });
  if (!fit) return mismatch(value, expected);
  return numbers;
}

inline std::string_view text_of(Bytes bytes) {
  return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

}  // namespace detail

GEMMA_INLINE std::size_t value_bytes(ValueType type) {
  return detail::visit_type(type, [](auto zero) { return sizeof zero; });
}

GEMMA_INLINE const char* value_type_name(ValueType type) {
  constexpr const char* names[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                   "bool", "string", "array", "u64", "i64", "f64"};
  return names[static_cast<std::size_t>(type)];
}

GEMMA_INLINE std::size_t Value::size() const {
  if (!is_array()) return 1;
  if (element_type_ == ValueType::string) return strings_.size();
  if (element_type_ == ValueType::array) return arrays_.size();
  return bytes_.size() / value_bytes(element_type_);
}

GEMMA_INLINE Result<std::uint64_t> Value::as_uint() const {
  return detail::scalar_as<std::uint64_t>(*this, "a whole number, not negative");
}

GEMMA_INLINE Result<std::int64_t> Value::as_int() const {
  return detail::scalar_as<std::int64_t>(*this, "a whole number of 64 bits");
}

GEMMA_INLINE Result<double> Value::as_float() const {
  return detail::scalar_as<double>(*this, "a number");
}

GEMMA_INLINE Result<bool> Value::as_bool() const {
  if (type_ == ValueType::boolean) return bytes_[0] != 0;
  return detail::mismatch(*this, "true or false");
}

GEMMA_INLINE Result<std::string_view> Value::as_string() const {
  if (type_ == ValueType::string) return detail::text_of(bytes_);
  return detail::mismatch(*this, "a string");
}

GEMMA_INLINE Result<std::vector<std::uint64_t>> Value::as_uint_array() const {
  return detail::array_as<std::uint64_t>(*this, "an array of whole numbers, none negative");
}

GEMMA_INLINE Result<std::vector<std::int64_t>> Value::as_int_array() const {
  return detail::array_as<std::int64_t>(*this, "an array of whole numbers of 64 bits");
}

GEMMA_INLINE Result<std::vector<double>> Value::as_float_array() const {
  return detail::array_as<double>(*this, "an array of numbers");
}

GEMMA_INLINE Result<Span<const std::string_view>> Value::as_string_array() const {
  if (is_array() && element_type_ == ValueType::string) {
    return Span<const std::string_view>(strings_);
  }
  return detail::mismatch(*this, "an array of strings");
}

GEMMA_INLINE Result<Span<const Value>> Value::as_array_of_arrays() const {
  if (is_array() && element_type_ == ValueType::array) return Span<const Value>(arrays_);
  return detail::mismatch(*this, "an array of arrays");
}

GEMMA_INLINE std::string Value::describe() const {
  const std::string element = value_type_name(element_type_);
  if (is_array()) return "array of " + std::to_string(size()) + " × " + element;
  if (type_ == ValueType::string) return "string '" + printable(detail::text_of(bytes_)) + "'";
  if (type_ == ValueType::boolean) return bytes_[0] != 0 ? "bool true" : "bool false";
  if (const auto x = detail::convert_number<std::int64_t>(type_, bytes_.data())) {
    return element + " " + std::to_string(*x);
  }
  if (const auto x = detail::convert_number<std::uint64_t>(type_, bytes_.data())) {
    return element + " " + std::to_string(*x);
  }
  char text[32];
  const auto x = detail::convert_number<double>(type_, bytes_.data());
  std::snprintf(text, sizeof text, "%.9g", x.value_or(0.0));
  return element + " " + text;
}

GEMMA_INLINE std::string printable(std::string_view text) {
  constexpr std::size_t kLimit = 80;
  constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (const char c : text.substr(0, kLimit)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7F) {
      out += c;
    } else {
      out += {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
    }
  }
  return text.size() > kLimit ? out + "…" : out;
}

}  // namespace gguf
GEMMA_NAMESPACE_END

#endif  // GEMMA_FORMATS_IMPL_METADATA_INL_HPP_
