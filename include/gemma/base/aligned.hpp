// Memory for SIMD: 64-byte aligned, zeroed, and never an exception when there is too little of it.
#ifndef GEMMA_BASE_ALIGNED_HPP_
#define GEMMA_BASE_ALIGNED_HPP_

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>
#include <string>
#include <type_traits>

#include "gemma/base/error.hpp"

GEMMA_NAMESPACE_BEGIN

/// An array of plain numbers, zero at first; pages are touched only when used. Movable.
template <class T>
class AlignedArray {
  static_assert(std::is_arithmetic<T>::value, "plain numbers only");

 public:
  static constexpr std::size_t kAlignment = 64;  ///< bytes: a cache line

  AlignedArray() = default;

  /// `what` is for the error message: "the KV cache".
  static Result<AlignedArray> create(std::size_t count, const std::string& what) {
    AlignedArray array;
    const std::size_t limit = (std::numeric_limits<std::size_t>::max)() - kAlignment;
    // calloc leaves large zeroed blocks untouched; the array starts at the first aligned byte.
    if (count <= limit / sizeof(T)) {
      array.block_.reset(std::calloc(count * sizeof(T) + kAlignment, 1));
    }
    if (!array.block_) {
      return Error(ErrorCode::out_of_memory,
                   "cannot allocate " + std::to_string(count) + " × " + std::to_string(sizeof(T)) +
                       " bytes for " + what + "; choose a smaller context or batch");
    }
    const auto address = reinterpret_cast<std::uintptr_t>(array.block_.get());
    const std::uintptr_t aligned = (address + kAlignment - 1) / kAlignment * kAlignment;
    array.data_ = reinterpret_cast<T*>(aligned);
    array.size_ = count;
    return array;
  }

  T* data() { return data_; }                 ///< null if default-constructed
  const T* data() const { return data_; }     ///< likewise
  std::size_t size() const { return size_; }  ///< elements, not bytes

 private:
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };

  std::unique_ptr<void, Free> block_;
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

GEMMA_NAMESPACE_END

#endif  // GEMMA_BASE_ALIGNED_HPP_
