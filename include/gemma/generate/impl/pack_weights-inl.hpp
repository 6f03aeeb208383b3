// A model's weights laid out anew while it is loaded, for kernels that are faster so
// (quant/packed.hpp). The copy takes the place of the file's bytes in memory.
//
// A copy costs a small model a moment and makes its decoding faster by a twelfth; to a large one, whose
// decoding waits for memory either way, it is worth nothing and costs seconds.
#ifndef GEMMA_GENERATE_IMPL_PACK_WEIGHTS_INL_HPP_
#define GEMMA_GENERATE_IMPL_PACK_WEIGHTS_INL_HPP_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "gemma/base/aligned.hpp"
#include "gemma/base/huge_pages.hpp"
#include "gemma/base/threads.hpp"
#include "gemma/generate/model_source.hpp"
#include "gemma/model/weights.hpp"
#include "gemma/quant/packed.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

/// The matrices of a model that are multiplied with; look-up tables, which are not, are left out.
inline std::vector<WeightMatrix*> multiplied_matrices(Weights& weights) {
  std::vector<WeightMatrix*> list;
  const bool tied = weights.embedding.data == weights.head.data;
  visit_weights(weights, [&](const std::vector<WeightMatrix*>& together) {
    for (WeightMatrix* m : together) {
      const bool table = m == &weights.ple_embedding || (m == &weights.embedding && !tied);
      if (*m && !table) list.push_back(m);
    }
  }, [](const NormWeights&) {});
  return list;
}

class PackedWeights {
 public:
  /// Whether it is worth it: most of what is multiplied with can be packed.
  static bool suits(Weights& weights) {
    std::size_t all = 0, packed = 0;
    for (const WeightMatrix* m : multiplied_matrices(weights)) {
      all += m->bytes();
      if (quant::can_pack(*m)) packed += m->bytes();
    }
    return packed > all / 2;
  }

  /// The largest file that FileAccess::fastest has packed. Between 253 MB, where it gains 8 %, and
  /// 720 MB, where it gains 0 to 4 % and a machine that must ask its host for memory takes 1.5 s.
  static constexpr std::uint64_t kLargestFile = std::uint64_t{512} << 20;

  /// Whether FileAccess::fastest wants a file of `bytes` packed.
  static bool worth_a_copy(std::uint64_t bytes) {
    return bytes <= kLargestFile && huge_pages_affordable(static_cast<std::size_t>(bytes));
  }

  /// Packs what can be packed of weights that lie in `source`, and sets their WeightMatrix::packed.
  Status create(Weights& weights, const ModelSource& source) {
    std::vector<WeightMatrix*> list;
    for (WeightMatrix* m : multiplied_matrices(weights)) {
      if (quant::can_pack(*m)) list.push_back(m);
    }
    const auto by_place = [](const WeightMatrix* a, const WeightMatrix* b) { return a->data < b->data; };
    std::sort(list.begin(), list.end(), by_place);
    const auto is_new = [&](std::size_t i) { return i == 0 || list[i]->data != list[i - 1]->data; };
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < list.size(); ++i) bytes += is_new(i) ? padded(*list[i]) : 0;
    using Memory = AlignedArray<std::uint8_t>;
    GEMMA_TRY_ASSIGN(memory_, Memory::create(bytes, "the packed weights"));
    advise_huge_pages(memory_.data(), bytes);
    ThreadPool pool;
    std::uint8_t* to = memory_.data();
    for (std::size_t i = 0; i < list.size(); ++i) {
      if (!is_new(i)) {
        list[i]->packed = list[i - 1]->packed;
        continue;
      }
      pack(*list[i], to, pool, source);
      list[i]->packed = to;
      to += padded(*list[i]);
    }
    return {};
  }

 private:
  static std::size_t padded(const WeightMatrix& m) {
    constexpr std::size_t kLine = AlignedArray<std::uint8_t>::kAlignment;
    return (m.bytes() + kLine - 1) / kLine * kLine;
  }

  /// Piece by piece, so that the file's bytes and the copy are never in memory both.
  static void pack(const WeightMatrix& m, std::uint8_t* to, ThreadPool& pool,
                   const ModelSource& source) {
    constexpr std::size_t kPieceBytes = std::size_t{16} << 20;
    constexpr std::size_t kTaskRows = 8 * kPackedRows;
    const std::size_t piece = (std::max)(kPieceBytes / m.row_bytes / kTaskRows, std::size_t{1}) * kTaskRows;
    for (std::size_t first = 0; first < m.rows; first += piece) {
      const std::size_t rows = (std::min)(piece, m.rows - first);
      pool.parallel_for((rows + kTaskRows - 1) / kTaskRows, [&](std::size_t task, std::size_t) {
        const std::size_t end = first + (std::min)((task + 1) * kTaskRows, rows);
        for (std::size_t row = first + task * kTaskRows; row < end; row += kPackedRows) {
          quant::pack_rows(m, row, to + row * m.row_bytes);
        }
      });
      source.advise_dontneed(Bytes(m.row(first), rows * m.row_bytes));
    }
  }

  AlignedArray<std::uint8_t> memory_;
};

}  // namespace detail
GEMMA_NAMESPACE_END

#endif  // GEMMA_GENERATE_IMPL_PACK_WEIGHTS_INL_HPP_
