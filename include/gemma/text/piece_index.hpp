// Flat hash tables from pieces, and from pairs of pieces, to ids: small, built in milliseconds, and
// never changed afterwards.
#ifndef GEMMA_TEXT_PIECE_INDEX_HPP_
#define GEMMA_TEXT_PIECE_INDEX_HPP_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "gemma/base/token.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

/// Mixes 64 bits (the finaliser of SplitMix64).
inline std::uint64_t mix_bits(std::uint64_t h) {
  h = (h ^ (h >> 30)) * 0xBF58476D1CE4E5B9u;
  h = (h ^ (h >> 27)) * 0x94D049BB133111EBu;
  return h ^ (h >> 31);
}

/// Eight bytes at a time.
inline std::uint64_t hash_bytes(std::string_view s) {
  std::uint64_t h = 0x9E3779B97F4A7C15u ^ s.size();
  while (s.size() >= 8) {
    std::uint64_t word;
    std::memcpy(&word, s.data(), sizeof word);
    h = mix_bits(h ^ word);
    s.remove_prefix(8);
  }
  std::uint64_t rest = 0;
  if (!s.empty()) std::memcpy(&rest, s.data(), s.size());
  return mix_bits(h ^ rest);
}

/// The smallest power of two that leaves a table of n entries half empty.
inline std::size_t table_size(std::size_t n) {
  std::size_t size = 16;
  while (size < 2 * n) size *= 2;
  return size;
}

}  // namespace detail

/// Piece → id. Holds ids only; the pieces stay with the vocabulary.
class PieceIndex {
 public:
  /// Of equal pieces the first counts. `pieces` is passed again to find().
  void build(const std::vector<std::string_view>& pieces) {
    slots_.assign(detail::table_size(pieces.size()), kEmpty);
    mask_ = static_cast<std::uint32_t>(slots_.size() - 1);
    // Hashes first: then the processor waits for several slots at once.
    std::vector<std::uint32_t> hashes(pieces.size());
    for (std::size_t id = 0; id < pieces.size(); ++id) hashes[id] = hash_of(pieces[id]);
    for (std::size_t id = 0; id < pieces.size(); ++id) {
      const std::uint32_t hash = hashes[id];
      std::uint32_t& slot = slots_[locate(pieces, pieces[id], hash)];
      if (slot == kEmpty) slot = (hash & ~mask_) | static_cast<std::uint32_t>(id);
    }
  }

  /// The id of a piece, or −1.
  TokenId find(const std::vector<std::string_view>& pieces, std::string_view piece) const {
    if (slots_.empty()) return -1;
    const std::uint32_t slot = slots_[locate(pieces, piece, hash_of(piece))];
    return slot == kEmpty ? -1 : static_cast<TokenId>(slot & mask_);
  }

 private:
  static constexpr std::uint32_t kEmpty = 0xFFFFFFFFu;

  static std::uint32_t hash_of(std::string_view piece) {
    return static_cast<std::uint32_t>(detail::hash_bytes(piece));
  }

  /// The slot of `piece`, or the empty one where it would be.
  std::size_t locate(const std::vector<std::string_view>& pieces, std::string_view piece, std::uint32_t hash) const {
    std::size_t i = hash & mask_;
    while (slots_[i] != kEmpty && (((slots_[i] ^ hash) & ~mask_) != 0 || pieces[slots_[i] & mask_] != piece)) {
      i = (i + 1) & mask_;
    }
    return i;
  }

  /// An id in the bits of mask_, of which ids need at most all but one, and the hash's other bits: so pieces of other
  /// hashes need not be looked at, which would be a cache miss each.
  std::vector<std::uint32_t> slots_;
  std::uint32_t mask_ = 0;  ///< of what the hash says of a place in slots_
};

/// (left id, right id) → (rank, merged id).
class PairIndex {
 public:
  /// A pair of pieces that merges.
  struct Entry {
    TokenId left;        ///< the first of the two
    TokenId right;       ///< the second
    std::uint32_t rank;  ///< place in the list of merges: the lowest goes first
    TokenId merged;      ///< the piece that both become; −1: an empty slot
  };

  /// Empties the table and makes room for `count` entries; insert() does not check that.
  void reserve(std::size_t count) {
    slots_.assign(detail::table_size(count), {-1, -1, 0, -1});
  }
  /// The first entry of a pair counts.
  void insert(const Entry& entry) {
    Entry& slot = slots_[locate(entry.left, entry.right)];
    if (slot.merged < 0) slot = entry;
  }
  /// Null if the pair does not merge.
  const Entry* find(TokenId left, TokenId right) const {
    if (slots_.empty()) return nullptr;
    const Entry& slot = slots_[locate(left, right)];
    return slot.merged < 0 ? nullptr : &slot;
  }

 private:
  std::size_t locate(TokenId left, TokenId right) const {
    const std::size_t mask = slots_.size() - 1;
    const std::uint64_t key = static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
                              static_cast<std::uint32_t>(right);
    std::size_t i = static_cast<std::size_t>(detail::mix_bits(key)) & mask;
    while (slots_[i].merged >= 0 && (slots_[i].left != left || slots_[i].right != right)) {
      i = (i + 1) & mask;
    }
    return i;
  }

  std::vector<Entry> slots_;
};

GEMMA_NAMESPACE_END

#endif  // GEMMA_TEXT_PIECE_INDEX_HPP_
