// A number that stands for bytes: names of cached files, and whether a file is as it was written.
#ifndef GEMMA_BASE_HASH_HPP_
#define GEMMA_BASE_HASH_HPP_

#include <cstdint>

#include "gemma/base/span.hpp"

GEMMA_NAMESPACE_BEGIN

/// FNV-1a, 64 bits, byte by byte. Not for those who would fool it.
class Hash {
 public:
  /// These, after those that were added before.
  void add(Bytes bytes) {
    for (const std::uint8_t byte : bytes) {
      value_ ^= byte;
      value_ *= 0x100000001b3u;
    }
  }
  /// The eight bytes of a number, the lowest first.
  void add(std::uint64_t number) {
    std::uint8_t bytes[8];
    for (std::uint8_t& byte : bytes) {
      byte = static_cast<std::uint8_t>(number);
      number >>= 8;
    }
    add(Bytes(bytes, sizeof bytes));
  }

  std::uint64_t value() const { return value_; }  ///< of all that was added

 private:
  std::uint64_t value_ = 0xcbf29ce484222325u;
};

GEMMA_NAMESPACE_END

#endif  // GEMMA_BASE_HASH_HPP_
