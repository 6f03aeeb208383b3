// Bodies of mediapipe_bundle.hpp: rows of a graph's matrices as rows of ours.
#ifndef GEMMA_GENERATE_IMPL_BUNDLE_LAYOUT_INL_HPP_
#define GEMMA_GENERATE_IMPL_BUNDLE_LAYOUT_INL_HPP_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "gemma/base/huge_pages.hpp"
#include "gemma/base/threads.hpp"
#include "gemma/generate/mediapipe_bundle.hpp"
#include "gemma/quant/registry.hpp"

GEMMA_NAMESPACE_BEGIN
namespace mediapipe {

GEMMA_INLINE void BundleSource::lay_out_row(const Job& job, std::size_t row, std::uint8_t* to) const {
  constexpr std::size_t kBlock = 32;
  constexpr std::uint8_t kSigns = 0x88;  // of two nibbles: −8…7 becomes 0…15
  const tfl::GraphTensor& from = graph_.tensors[static_cast<std::size_t>(job.source)];
  const std::size_t source = job.rows.empty() ? row : job.rows[row];
  const std::uint8_t* in = from.data.data() + source * job.source_row_bytes;
  if (job.layout == Layout::same) {
    std::memcpy(to, in, job.source_row_bytes);
    return;
  }
  if (job.layout == Layout::signed_fours) {
    for (std::size_t i = 0; i < job.source_row_bytes; ++i) to[i] = in[i] ^ kSigns;
    return;
  }
  const auto block_size = static_cast<std::size_t>(from.quantization.block_size);
  const tfl::GraphTensor& all = graph_.tensors[static_cast<std::size_t>(from.quantization.block_scales)];
  const std::size_t cols = shape_of(from).cols;
  const std::uint8_t* scales = all.data.data() + source * (cols / block_size) * 2;
  for (std::size_t c = 0; c < cols; c += kBlock) {
    std::memcpy(to, scales + c / block_size * 2, 2);
    to += 2;
    if (job.layout == Layout::blocks_of_8) {
      std::memcpy(to, in + c, kBlock);
      to += kBlock;
      continue;
    }
    // Neighbours share a byte there, numbers i and i + 16 here.
    const std::uint8_t* pairs = in + c / 2;
    for (std::size_t i = 0; i < kBlock / 4; ++i) {
      const std::uint8_t low = pairs[i] ^ kSigns, high = pairs[i + kBlock / 4] ^ kSigns;
      to[2 * i] = static_cast<std::uint8_t>((low & 15) | (high & 15) << 4);
      to[2 * i + 1] = static_cast<std::uint8_t>(low >> 4 | (high & 0xF0));
    }
    to += kBlock / 2;
  }
}

GEMMA_INLINE Status BundleSource::lay_out(const ProgressFn& progress) {
  constexpr std::size_t kLine = AlignedArray<std::uint8_t>::kAlignment;
  constexpr std::size_t kStripeBytes = std::size_t{16} << 20;
  constexpr std::size_t kTaskRows = 16;
  if (jobs_.empty()) return {};
  const auto row_bytes = [&](const Job& job) {
    const TensorView& t = tensors_[job.tensor];
    return static_cast<std::size_t>(*quant::row_bytes(t.type, t.shape[0]));
  };
  const auto size = [&](const Job& job) {
    const std::size_t bytes = row_bytes(job) * static_cast<std::size_t>(tensors_[job.tensor].shape[1]);
    return (bytes + kLine - 1) / kLine * kLine;
  };
  std::size_t total = 0;
  for (const Job& job : jobs_) total += size(job);
  GEMMA_TRY_ASSIGN(memory_, AlignedArray<std::uint8_t>::create(total, "the weights in blocks"));
  gemma::detail::advise_huge_pages(memory_.data(), memory_.size());
  ThreadPool pool;
  std::uint8_t* to = memory_.data();
  std::uint64_t done = 0;
  for (const Job& job : jobs_) {
    TensorView& tensor = tensors_[job.tensor];
    const tfl::GraphTensor& from = graph_.tensors[static_cast<std::size_t>(job.source)];
    const std::size_t bytes = row_bytes(job), rows = static_cast<std::size_t>(tensor.shape[1]);
    const std::size_t stripe = (std::max)(kStripeBytes / bytes, std::size_t{1});
    for (std::size_t first = 0; first < rows; first += stripe) {
      const std::size_t count = (std::min)(stripe, rows - first);
      pool.parallel_for((count + kTaskRows - 1) / kTaskRows, [&](std::size_t task, std::size_t) {
        const std::size_t last = (std::min)((task + 1) * kTaskRows, count);
        for (std::size_t r = task * kTaskRows; r < last; ++r) {
          lay_out_row(job, first + r, to + (first + r) * bytes);
        }
      });
      if (job.rows.empty()) {
        advise_dontneed(from.data.subspan(first * job.source_row_bytes, count * job.source_row_bytes));
      }
      done += count * bytes;
      if (progress && !progress({"load", done, total})) {
        return Error(ErrorCode::cancelled, name_ + ": loading was cancelled");
      }
    }
    tensor.data = Bytes(to, rows * bytes);
    to += size(job);
  }
  jobs_.clear();
  return {};
}

}  // namespace mediapipe
GEMMA_NAMESPACE_END

#endif  // GEMMA_GENERATE_IMPL_BUNDLE_LAYOUT_INL_HPP_
