// Weights that stay in a mapped file, a few in memory at a time. Layers are used in turn, again and
// again, so the first ones that fit are kept for good, and each of the others is let go of after its
// turn: whatever order one evicts in, no more of such a round can stay.
#ifndef GEMMA_BACKEND_IMPL_WEIGHT_PAGER_INL_HPP_
#define GEMMA_BACKEND_IMPL_WEIGHT_PAGER_INL_HPP_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "gemma/backend/cpu.hpp"
#include "gemma/model/weights.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

class WeightPager {
 public:
  /// Rows of the head that are computed at least in one go.
  static constexpr std::size_t kHeadRows = 64;
  /// Rows of a table, such as the embedding, that are read before they are let go of; around each the
  /// system may map this many bytes.
  static constexpr std::size_t kTableRows = 64;
  static constexpr std::uint64_t kMappedAround = 64 << 10;

  WeightPager() = default;
  /// Does nothing if paging.release is not set, or all weights fit.
  WeightPager(const Weights& weights, const WeightPaging& paging) : paging_(paging) {
    if (!paging_.release) return;
    add_parts(weights);
    const std::uint64_t least = least_bytes(weights);
    std::uint64_t all = 0;
    for (const Part& part : parts_) all += part.bytes;
    if (all + always(weights) <= paging_.bytes) return;
    active_ = true;
    std::uint64_t left = paging_.bytes - (std::min)(paging_.bytes, least);
    for (Part& part : parts_) {
      part.kept = part.bytes <= left;
      if (part.kept) left -= part.bytes;
    }
    if (parts_.back().kept) kept_head_ = parts_.back().pieces[0].data();
    slice_bytes_ = largest_layer(weights);
  }

  /// What paging.bytes must be at least.
  static std::uint64_t least_bytes(const Weights& weights) {
    const std::uint64_t slice = kHeadRows * weights.head.row_bytes;
    return always(weights) + (std::max)(largest_layer(weights), slice);
  }

  bool active() const { return active_; }

  /// The layer is about to be computed; the one before it is done. Behind the last comes the head.
  void enter(std::size_t part) {
    if (!active_) return;
    leave();
    current_ = part;
    const std::size_t next = part + 1;
    if (next < parts_.size() && !parts_[next].kept && paging_.will_need) {
      for (const Bytes piece : parts_[next].pieces) paging_.will_need(piece);
    }
  }

  /// All is done.
  void leave() {
    if (current_ < parts_.size() && !parts_[current_].kept) release(parts_[current_]);
    current_ = kNone;
  }

  /// How many rows of the head to compute before what they are made of is to be let go of.
  std::size_t head_rows(const WeightMatrix& head) const {
    if (!active_ || parts_.back().kept) return head.rows;
    const std::size_t rows = static_cast<std::size_t>(slice_bytes_ / head.row_bytes);
    return (std::max)(rows / kHeadRows, std::size_t{1}) * kHeadRows;
  }

  /// Lets go of the whole matrix, or of these rows of it, unless it is kept as the head.
  void release(const WeightMatrix& m) {
    if (active_ && m.data != kept_head_) paging_.release(Bytes(m.data, m.bytes()));
  }

  /// Row number `count` of a table was read: lets go of it all now and then.
  void after_row(const WeightMatrix& table, std::size_t count) {
    if (active_ && count % kTableRows == kTableRows - 1) release(table);
  }

 private:
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);
  struct Part {
    std::vector<Bytes> pieces;
    std::uint64_t bytes = 0;
    bool kept = false;
    void add(const WeightMatrix& m) {
      if (!m) return;
      pieces.emplace_back(m.data, m.bytes());
      bytes += m.bytes();
    }
  };

  static Part part_of(const LayerWeights& layer) {
    Part part;
    visit_layer(layer, [&](const std::vector<const WeightMatrix*>& together) {
      for (const WeightMatrix* m : together) part.add(*m);
    }, [](const NormWeights&) {});
    return part;
  }

  static std::uint64_t largest_layer(const Weights& weights) {
    std::uint64_t largest = 0;
    for (const LayerWeights& layer : weights.layers) {
      largest = (std::max)(largest, part_of(layer).bytes);
    }
    return largest;
  }

  /// What is used between the layers, and rows of tables.
  static std::uint64_t always(const Weights& weights) {
    Part part;
    part.add(weights.ple_projection);
    for (const WeightMatrix& m : weights.altup_project) part.add(m);
    for (const WeightMatrix& m : weights.altup_unembed) part.add(m);
    for (const WeightMatrix* table : {&weights.embedding, &weights.ple_embedding}) {
      part.bytes += (std::min)(std::uint64_t{table->bytes()}, kTableRows * kMappedAround);
    }
    return part.bytes;
  }

  void add_parts(const Weights& weights) {
    for (const LayerWeights& layer : weights.layers) parts_.push_back(part_of(layer));
    Part head;
    head.add(weights.head ? weights.head : weights.embedding);
    parts_.push_back(std::move(head));
  }

  void release(const Part& part) {
    for (const Bytes piece : part.pieces) paging_.release(piece);
  }

  WeightPaging paging_;
  bool active_ = false;
  std::vector<Part> parts_;  ///< the layers, then the head
  const std::uint8_t* kept_head_ = nullptr;
  std::size_t current_ = kNone;
  std::uint64_t slice_bytes_ = 0;
};

}  // namespace detail
GEMMA_NAMESPACE_END

#endif  // GEMMA_BACKEND_IMPL_WEIGHT_PAGER_INL_HPP_
