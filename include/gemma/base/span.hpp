// A view of contiguous elements (C++17 has no std::span).
#ifndef GEMMA_BASE_SPAN_HPP_
#define GEMMA_BASE_SPAN_HPP_

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "gemma/config.hpp"

GEMMA_NAMESPACE_BEGIN

/// Pointer and length; owns nothing.
template <class T>
class Span {
 public:
  constexpr Span() = default;
  /// `size` elements, which must outlive the span and its copies.
  constexpr Span(T* data, std::size_t size) : data_(data), size_(size) {}
  /// Of elements that may be written: the same, read-only.
  template <class U, class = std::enable_if_t<std::is_convertible<U (*)[], T (*)[]>::value>>
  constexpr Span(Span<U> other) : data_(other.data()), size_(other.size()) {}  // NOLINT: implicit
  /// All elements of a vector, until it is resized or destroyed.
  Span(std::vector<std::remove_const_t<T>>& v) : data_(v.data()), size_(v.size()) {}  // NOLINT
  /// Likewise, read-only.
  template <class U = T, class = std::enable_if_t<std::is_const<U>::value>>
  Span(const std::vector<std::remove_const_t<T>>& v) : data_(v.data()), size_(v.size()) {}  // NOLINT

  constexpr T* data() const { return data_; }                        ///< null for a default span
  constexpr std::size_t size() const { return size_; }               ///< elements, not bytes
  constexpr bool empty() const { return size_ == 0; }                ///< whether size() is 0
  constexpr T* begin() const { return data_; }                       ///< the first element
  constexpr T* end() const { return data_ + size_; }                 ///< one past the last
  constexpr T& operator[](std::size_t i) const { return data_[i]; }  ///< not checked: i < size()
  constexpr T& back() const { return data_[size_ - 1]; }             ///< not checked: !empty()
  /// Elements [offset, offset + count); the caller keeps it in range.
  constexpr Span subspan(std::size_t offset, std::size_t count) const {
    return Span(data_ + offset, count);
  }
  /// All elements from `offset` on, which is at most size().
  constexpr Span subspan(std::size_t offset) const { return Span(data_ + offset, size_ - offset); }

 private:
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

/// Bytes of a file or a tensor.
using Bytes = Span<const std::uint8_t>;

GEMMA_NAMESPACE_END

#endif  // GEMMA_BASE_SPAN_HPP_
