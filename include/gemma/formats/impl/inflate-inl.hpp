// Bodies of inflate.hpp.
#ifndef GEMMA_FORMATS_IMPL_INFLATE_INL_HPP_
#define GEMMA_FORMATS_IMPL_INFLATE_INL_HPP_

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <limits>

#include "gemma/base/bytes.hpp"
#include "gemma/formats/inflate.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

/// A canonical Huffman code: symbols in the order of their codes, and how many codes of each length
/// there are. Codes are read bit by bit, which is fast enough for what is packed here.
class HuffmanCode {
 public:
  static constexpr std::size_t kLongest = 15;
  static constexpr std::size_t kMostSymbols = 288;

  /// False if the lengths are those of no code. A code of one symbol may be incomplete.
  bool build(const std::uint8_t* lengths, std::size_t count) {
    std::fill(counts_, counts_ + kLongest + 1, std::uint16_t{0});
    for (std::size_t i = 0; i < count; ++i) ++counts_[lengths[i]];
    const std::size_t used = count - counts_[0];
    counts_[0] = 0;
    std::int32_t left = 1;
    for (std::size_t length = 1; length <= kLongest; ++length) {
      left = 2 * left - counts_[length];
      if (left < 0) return false;
    }
    std::uint16_t next[kLongest + 1] = {};
    for (std::size_t length = 1; length < kLongest; ++length) {
      next[length + 1] = static_cast<std::uint16_t>(next[length] + counts_[length]);
    }
    for (std::size_t i = 0; i < count; ++i) {
      if (lengths[i] != 0) symbols_[next[lengths[i]]++] = static_cast<std::uint16_t>(i);
    }
    return left == 0 || used <= 1;
  }

  /// The next symbol; −1 if the bits are none. `bit()` gives the next bit.
  template <class F>
  int decode(const F& bit) const {
    std::int32_t code = 0, first = 0, index = 0;
    for (std::size_t length = 1; length <= kLongest; ++length) {
      code |= static_cast<std::int32_t>(bit());
      const std::int32_t count = counts_[length];
      if (code - first < count) return symbols_[static_cast<std::size_t>(index + code - first)];
      index += count;
      first = 2 * (first + count);
      code *= 2;
    }
    return -1;
  }

 private:
  std::uint16_t counts_[kLongest + 1];
  std::uint16_t symbols_[kMostSymbols];
};

/// One stream on its way into memory. Bits behind the end are zeros, and an error in the end.
class Inflater {
 public:
  Inflater(Bytes packed, std::uint8_t* out, std::size_t size)
      : packed_(packed), out_(out), size_(size) {}

  /// What is wrong with the stream; null: nothing.
  const char* run() {
    for (bool last = false; !last;) {
      last = bits(1) != 0;
      const std::uint32_t kind = bits(2);
      const char* wrong = "has a block of no known kind";
      if (kind == 0) wrong = stored();
      if (kind == 1) wrong = fixed();
      if (kind == 2) wrong = dynamic();
      if (wrong == nullptr && at_ > packed_.size()) wrong = "ends too early";
      if (wrong != nullptr) return wrong;
    }
    return written_ == size_ ? nullptr : "gives fewer bytes than promised";
  }

  /// Whole bytes that were read.
  std::size_t used() const { return at_; }

 private:
  std::uint32_t bits(std::uint32_t count) {
    while (have_ < count) {
      const std::uint32_t byte = at_ < packed_.size() ? packed_[at_] : 0u;
      ++at_;
      buffer_ |= byte << have_;
      have_ += 8;
    }
    const std::uint32_t value = buffer_ & ((1u << count) - 1);
    buffer_ >>= count;
    have_ -= count;
    return value;
  }

  const char* stored() {
    buffer_ = have_ = 0;  // the rest of the byte
    if (packed_.size() < 4 || at_ > packed_.size() - 4) return "ends too early";
    const std::size_t length = load_le<std::uint16_t>(packed_.data() + at_);
    const std::size_t inverse = load_le<std::uint16_t>(packed_.data() + at_ + 2);
    at_ += 4;
    if ((length ^ inverse) != 0xFFFF) return "has a stored block of a damaged length";
    if (length > packed_.size() - at_) return "ends too early";
    if (length > size_ - written_) return "gives more bytes than promised";
    std::copy_n(packed_.data() + at_, length, out_ + written_);
    at_ += length;
    written_ += length;
    return nullptr;
  }

  const char* fixed() {
    std::uint8_t lengths[HuffmanCode::kMostSymbols];
    for (std::size_t i = 0; i < HuffmanCode::kMostSymbols; ++i) {
      lengths[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
    }
    literals_.build(lengths, HuffmanCode::kMostSymbols);
    std::fill_n(lengths, 32, std::uint8_t{5});
    distances_.build(lengths, 32);
    return codes();
  }

  const char* dynamic() {
    constexpr std::uint8_t kOrder[] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    const std::size_t literals = bits(5) + 257, distances = bits(5) + 1, count = bits(4) + 4;
    std::uint8_t lengths[HuffmanCode::kMostSymbols + 32] = {};
    for (std::size_t i = 0; i < count; ++i) lengths[kOrder[i]] = static_cast<std::uint8_t>(bits(3));
    if (literals > 286 || distances > 30 || !literals_.build(lengths, 19)) return "has a damaged code";
    const std::size_t all = literals + distances;
    std::uint8_t previous = 0;
    for (std::size_t i = 0; i < all;) {
      const int symbol = literals_.decode([&] { return bits(1); });
      if (symbol < 0 || at_ > packed_.size() + 4) return "has a damaged code";
      std::size_t times = 1;
      if (symbol < 16) previous = static_cast<std::uint8_t>(symbol);
      if (symbol == 16) times = 3 + bits(2);
      if (symbol == 17) times = 3 + bits(3);
      if (symbol == 18) times = 11 + bits(7);
      if (symbol > 16) previous = 0;
      if (times > all - i || (symbol == 16 && i == 0)) return "has a damaged code";
      std::fill_n(lengths + i, times, previous);
      i += times;
    }
    if (lengths[256] == 0) return "has a block without an end";
    if (!literals_.build(lengths, literals) || !distances_.build(lengths + literals, distances)) {
      return "has a damaged code";
    }
    return codes();
  }

  /// Literals and copies, up to the end of the block.
  const char* codes() {
    constexpr std::uint16_t kLengths[] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                          31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
    constexpr std::uint8_t kLengthBits[] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                            2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
    constexpr std::uint16_t kDistances[] = {1,   2,   3,   4,   5,   7,    9,    13,   17,   25,
                                            33,  49,  65,  97,  129, 193,  257,  385,  513,  769,
                                            1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
    const auto bit = [&] { return bits(1); };
    while (at_ <= packed_.size() + 4) {
      const int symbol = literals_.decode(bit);
      if (symbol < 0 || symbol > 285) return "holds no symbol where one is due";
      if (symbol == 256) return nullptr;
      if (symbol < 256) {
        if (written_ == size_) return "gives more bytes than promised";
        out_[written_++] = static_cast<std::uint8_t>(symbol);
        continue;
      }
      const auto l = static_cast<std::size_t>(symbol - 257);
      const std::size_t length = kLengths[l] + bits(kLengthBits[l]);
      const int d = distances_.decode(bit);
      if (d < 0 || d > 29) return "holds no distance where one is due";
      const auto more = static_cast<std::uint32_t>(d < 2 ? 0 : d / 2 - 1);
      const std::size_t distance = kDistances[d] + bits(more);
      if (distance > written_) return "copies what is before its beginning";
      if (length > size_ - written_) return "gives more bytes than promised";
      for (std::size_t i = 0; i < length; ++i, ++written_) out_[written_] = out_[written_ - distance];
    }
    return "ends too early";
  }

  Bytes packed_;
  std::uint8_t* out_;
  std::size_t size_;
  std::size_t written_ = 0;
  std::size_t at_ = 0;
  std::uint32_t buffer_ = 0;
  std::uint32_t have_ = 0;  ///< bits in it
  HuffmanCode literals_;
  HuffmanCode distances_;
};

inline Error packed_error(const std::string& name, const std::string& what) {
  return Error(ErrorCode::format, name + ": the packed data " + what + "; is the download complete?");
}

inline Result<AlignedArray<std::uint8_t>> inflate(Bytes packed, std::uint64_t size,
                                                  const std::string& name, std::size_t* used) {
  // Two bits give at most 258 bytes.
  constexpr std::uint64_t kMostPerByte = 1032;
  if (size / kMostPerByte > packed.size()) {
    return packed_error(name, "of " + std::to_string(packed.size()) + " bytes cannot hold the " +
                                  std::to_string(size) + " that are promised");
  }
  GEMMA_TRY_ASSIGN(AlignedArray<std::uint8_t> out,
                   AlignedArray<std::uint8_t>::create(static_cast<std::size_t>(size),
                                                      "what is unpacked of " + name));
  Inflater inflater(packed, out.data(), out.size());
  if (const char* wrong = inflater.run()) return packed_error(name, wrong);
  *used = inflater.used();
  return out;
}

}  // namespace detail

GEMMA_INLINE Result<AlignedArray<std::uint8_t>> inflate(Bytes packed, std::uint64_t size,
                                                        const std::string& name) {
  std::size_t used = 0;
  return detail::inflate(packed, size, name, &used);
}

GEMMA_INLINE Result<AlignedArray<std::uint8_t>> inflate_zlib(Bytes packed, std::uint64_t size,
                                                             const std::string& name) {
  constexpr std::size_t kHead = 2, kSum = 4;
  constexpr std::uint8_t kDeflate = 8, kMethod = 15, kDictionary = 32;
  if (packed.size() < kHead + kSum || (packed[0] & kMethod) != kDeflate ||
      (packed[0] * 256 + packed[1]) % 31 != 0 || (packed[1] & kDictionary) != 0) {
    return detail::packed_error(name, "does not begin as a zlib stream");
  }
  std::size_t used = 0;
  const Bytes stream = packed.subspan(kHead, packed.size() - kHead);
  GEMMA_TRY_ASSIGN(AlignedArray<std::uint8_t> out, detail::inflate(stream, size, name, &used));
  if (used > stream.size() - kSum) return detail::packed_error(name, "ends before its checksum");
  constexpr std::uint32_t kModulus = 65521;
  constexpr std::size_t kUnreduced = 5000;  // sums of so many bytes fit 32 bits
  std::uint32_t a = 1, b = 0;
  for (std::size_t i = 0; i < out.size();) {
    const std::size_t end = i + (std::min)(kUnreduced, out.size() - i);
    for (; i < end; ++i) b += a += out.data()[i];
    a %= kModulus;
    b %= kModulus;
  }
  std::uint32_t wanted = 0;
  for (std::size_t i = 0; i < kSum; ++i) wanted = wanted << 8 | stream[used + i];
  if ((b << 16 | a) != wanted) return detail::packed_error(name, "has another checksum than it says");
  return out;
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_FORMATS_IMPL_INFLATE_INL_HPP_
