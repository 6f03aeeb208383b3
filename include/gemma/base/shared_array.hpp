// An array that copies share until one of them is written to.
#ifndef GEMMA_BASE_SHARED_ARRAY_HPP_
#define GEMMA_BASE_SHARED_ARRAY_HPP_

#include <atomic>
#include <cstddef>
#include <cstring>
#include <string>
#include <utility>

#include "gemma/base/aligned.hpp"
#include "gemma/base/error.hpp"

GEMMA_NAMESPACE_BEGIN

/// An AlignedArray whose copies see the same memory. Who writes must be its only owner: make_own()
/// sees to it. One object is not for two threads at once, but two copies are.
template <class T>
class SharedArray {
 public:
  SharedArray() = default;
  /// Shares the memory of `other`.
  SharedArray(const SharedArray& other) : block_(other.block_) {
    if (block_ != nullptr) block_->owners.fetch_add(1, std::memory_order_relaxed);
  }
  /// Takes it over; `other` is empty then.
  SharedArray(SharedArray&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  /// Lets go of its own, and shares or takes over that of `other`.
  SharedArray& operator=(SharedArray other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }
  ~SharedArray() {
    if (block_ == nullptr) return;
    if (block_->owners.fetch_sub(1, std::memory_order_acq_rel) == 1) delete block_;
  }

  /// As AlignedArray::create().
  static Result<SharedArray> create(std::size_t count, const std::string& what) {
    SharedArray made;
    made.block_ = new Block;
    GEMMA_TRY_ASSIGN(made.block_->array, AlignedArray<T>::create(count, what));
    return made;
  }

  const T* data() const { return block_ != nullptr ? block_->array.data() : nullptr; }  ///< shared
  std::size_t size() const { return block_ != nullptr ? block_->array.size() : 0; }     ///< elements
  /// The same to write to, after make_own().
  T* own_data() { return block_ != nullptr ? block_->array.data() : nullptr; }

  /// Makes this the only owner, if it is not already: with a copy of the first `used` elements, the
  /// others zero. `what` is for the error message.
  Status make_own(std::size_t used, const std::string& what) {
    // Acquires what a former owner has read before it let go.
    if (block_ == nullptr || block_->owners.load(std::memory_order_acquire) == 1) return {};
    GEMMA_TRY_ASSIGN(SharedArray own, create(size(), what));
    if (used > 0) std::memcpy(own.own_data(), data(), used * sizeof(T));
    *this = std::move(own);
    return {};
  }

 private:
  struct Block {
    AlignedArray<T> array;
    std::atomic<std::size_t> owners{1};
  };

  Block* block_ = nullptr;
};

GEMMA_NAMESPACE_END

#endif  // GEMMA_BASE_SHARED_ARRAY_HPP_
