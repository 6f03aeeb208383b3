// The weights of a model in a device's memory.
#ifndef GEMMA_BACKEND_IMPL_OPENCL_WEIGHTS_INL_HPP_
#define GEMMA_BACKEND_IMPL_OPENCL_WEIGHTS_INL_HPP_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gemma/base/threads.hpp"
#include "gemma/model/weights.hpp"
#include "gemma/opencl/context.hpp"
#include "gemma/opencl/tiles.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

/// One matrix, or several of one format and width, one after the other.
struct DeviceMatrix {
  /// What fits one allocation: tiles [first, first + tiles).
  struct Part {
    opencl::Buffer buffer;
    std::size_t first = 0;
    std::size_t tiles = 0;
  };
  opencl::TileFormat format;
  std::size_t cols = 0;
  std::size_t blocks = 0;
  std::vector<Part> parts;
};

/// Rows of a matrix on the device, from a whole tile on.
struct DeviceRows {
  const DeviceMatrix* matrix = nullptr;
  std::size_t first_tile = 0;
  std::size_t rows = 0;

  std::size_t tiles() const { return (rows + opencl::kTileRows - 1) / opencl::kTileRows; }
  bool is_followed_by(const DeviceRows& other) const {
    return matrix == other.matrix && rows % opencl::kTileRows == 0 &&
           first_tile + tiles() == other.first_tile;
  }
};

/// Calls f(stack) for each matrix of the device: what can be stacked is, nothing comes twice.
template <class F>
void visit_stacks(const Weights& weights, const F& f) {
  std::set<const std::uint8_t*> seen;
  visit_weights(weights, [&](const std::vector<const WeightMatrix*>& together) {
    std::vector<WeightMatrix> list;
    for (const WeightMatrix* m : together) {
      if (*m && seen.insert(m->data).second) list.push_back(*m);
    }
    for (std::size_t first = 0; first < list.size();) {
      const WeightMatrix& top = list[first];
      std::size_t end = first + 1;
      while (end < list.size() && list[end].type == top.type && list[end].cols == top.cols &&
             list[end - 1].rows % opencl::kTileRows == 0) {
        ++end;
      }
      f(std::vector<WeightMatrix>(list.data() + first, list.data() + end));
      first = end;
    }
  }, [](const NormWeights&) {});
}

inline std::size_t tiles_of(const WeightMatrix& m) {
  return (m.rows + opencl::kTileRows - 1) / opencl::kTileRows;
}

inline std::size_t blocks_of(const WeightMatrix& m) {
  return (m.cols + opencl::kBlockColumns - 1) / opencl::kBlockColumns;
}

class DeviceWeights {
 public:
  static Result<DeviceWeights> upload(opencl::Context& context, const Weights& weights) {
    DeviceWeights made;
    ThreadPool pool;
    Status status;
    visit_stacks(weights, [&](const std::vector<WeightMatrix>& stack) {
      if (status) status = made.add_stack(context, stack, pool);
    });
    visit_weights(weights, [](const auto&) {}, [&](const NormWeights& gains) {
      if (status && !gains.empty()) status = made.add_norm(context, gains);
    });
    if (!status) return status.take_error();
    return made;
  }

  /// Bytes that upload() takes.
  static std::uint64_t bytes(const Weights& weights) {
    std::uint64_t sum = 0;
    visit_stacks(weights, [&](const std::vector<WeightMatrix>& stack) {
      for (const WeightMatrix& m : stack) {
        sum += tiles_of(m) * opencl::tile_format(m.type).tile_bytes(blocks_of(m));
      }
    });
    visit_weights(weights, [](const auto&) {},
                  [&](const NormWeights& gains) { sum += gains.size() * sizeof(float); });
    return sum;
  }

  /// Where the rows of `m` are, which is a matrix that was uploaded, or rows of one from a whole
  /// tile on; else empty.
  DeviceRows find(const WeightMatrix& m) const {
    auto place = places_.upper_bound(m.data);
    if (place == places_.begin()) return {};
    --place;
    const std::size_t row = static_cast<std::size_t>(m.data - place->first) / m.row_bytes;
    if (row % opencl::kTileRows != 0 || row + m.rows > place->second.rows) return {};
    return {place->second.matrix, place->second.first_tile + row / opencl::kTileRows, m.rows};
  }

  opencl::MemoryId find(const NormWeights& gains) const {
    const auto found = norms_.find(gains.data());
    return found == norms_.end() ? nullptr : found->second.id();
  }

  /// One of each format there is.
  std::vector<opencl::TileFormat> formats() const {
    std::vector<opencl::TileFormat> list;
    for (const auto& matrix : matrices_) {
      const auto same = [&](const opencl::TileFormat& f) {
        return std::string(f.name) == matrix->format.name;
      };
      if (std::none_of(list.begin(), list.end(), same)) list.push_back(matrix->format);
    }
    return list;
  }

 private:
  Status add_stack(opencl::Context& context, const std::vector<WeightMatrix>& stack,
                   ThreadPool& pool) {
    auto matrix = std::make_unique<DeviceMatrix>();
    matrix->format = opencl::tile_format(stack[0].type);
    matrix->cols = stack[0].cols;
    matrix->blocks = blocks_of(stack[0]);
    std::size_t tiles = 0;
    for (const WeightMatrix& m : stack) {
      places_[m.data] = {matrix.get(), tiles, m.rows};
      tiles += tiles_of(m);
    }
    const std::size_t tile_bytes = matrix->format.tile_bytes(matrix->blocks);
    const std::uint64_t largest = context.device().largest_allocation;
    const std::size_t most = static_cast<std::size_t>(
        (std::max)(largest / tile_bytes, std::uint64_t{1}));
    for (std::size_t first = 0; first < tiles; first += most) {
      DeviceMatrix::Part part;
      part.first = first;
      part.tiles = (std::min)(most, tiles - first);
      GEMMA_TRY_ASSIGN(part.buffer, context.create_buffer(part.tiles * tile_bytes, "weights"));
      matrix->parts.push_back(std::move(part));
    }
    std::size_t first = 0;
    for (const WeightMatrix& m : stack) {
      GEMMA_TRY(fill(context, *matrix, m, first, pool));
      first += tiles_of(m);
    }
    matrices_.push_back(std::move(matrix));
    return {};
  }

  /// Sends `m`, whose first tile is the matrix's tile `first`, piece by piece.
  static Status fill(opencl::Context& context, const DeviceMatrix& matrix, const WeightMatrix& m,
                     std::size_t first, ThreadPool& pool) {
    constexpr std::size_t kPieceBytes = std::size_t{32} << 20;
    const std::array<std::size_t, 4> planes = matrix.format.plane_bytes(matrix.blocks);
    const std::size_t tile_bytes = matrix.format.tile_bytes(matrix.blocks);
    const std::size_t piece = (std::max)(kPieceBytes / tile_bytes, std::size_t{1});
    std::vector<std::uint8_t> staging;
    for (const DeviceMatrix::Part& part : matrix.parts) {
      const std::size_t begin = (std::max)(part.first, first);
      const std::size_t end = (std::min)(part.first + part.tiles, first + tiles_of(m));
      for (std::size_t tile = begin; tile < end; tile += piece) {
        const std::size_t count = (std::min)(piece, end - tile);
        staging.assign(count * tile_bytes, 0);
        constexpr std::size_t kTask = 16;
        pool.parallel_for((count + kTask - 1) / kTask, [&](std::size_t task, std::size_t) {
          opencl::fill_tiles(m, (tile - first) * opencl::kTileRows, count, task * kTask,
                             (std::min)((task + 1) * kTask, count), staging.data());
        });
        std::size_t from = 0;
        std::size_t to = 0;
        for (const std::size_t bytes : planes) {
          if (bytes == 0) continue;
          GEMMA_TRY(context.write(part.buffer, to + (tile - part.first) * bytes,
                                  staging.data() + from, count * bytes));
          from += count * bytes;
          to += part.tiles * bytes;
        }
      }
    }
    return {};
  }

  Status add_norm(opencl::Context& context, const NormWeights& gains) {
    const std::size_t bytes = gains.size() * sizeof(float);
    GEMMA_TRY_ASSIGN(opencl::Buffer buffer, context.create_buffer(bytes, "the gains of a norm"));
    GEMMA_TRY(context.write(buffer, 0, gains.data(), bytes));
    norms_.emplace(gains.data(), std::move(buffer));
    return {};
  }

  std::vector<std::unique_ptr<DeviceMatrix>> matrices_;
  std::map<const std::uint8_t*, DeviceRows> places_;
  std::map<const float*, opencl::Buffer> norms_;
};

}  // namespace detail
GEMMA_NAMESPACE_END

#endif  // GEMMA_BACKEND_IMPL_OPENCL_WEIGHTS_INL_HPP_
