// The SIMD kernels as one table of function pointers: what the CPU backend needs, and nothing of
// models or files. kernels() gives the table of the compiled target or, with
// GEMMA_DYNAMIC_DISPATCH, of the best target this CPU has.
#ifndef GEMMA_SIMD_KERNELS_HPP_
#define GEMMA_SIMD_KERNELS_HPP_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "gemma/config.hpp"
#include "gemma/quant/block32.hpp"
#include "gemma/quant/matrix.hpp"
#include "gemma/simd/sketch.hpp"

GEMMA_NAMESPACE_BEGIN
namespace simd {

/// Elements of an activation row that share one scale.
inline constexpr std::size_t kActivationGroup = 32;

/// What goes with 32 activations of 8 bits: x ≈ scale · q.
struct CoarseGroup {
  float scale;                 ///< NaN if any of the 32 is not finite
  float sum;                   ///< scale · Σq, for weights with minimums
  std::int32_t minus_sum;      ///< −Σq, for weights whose codes are shifted
  std::int32_t minus_half[2];  ///< the same of the first and the second 16
  /// Of the first 16, the second, and all: −Σq_i of i % 4 < 2, and of the others. Set by x86's targets from SSSE3 on
  /// without VNNI, which add pairs of products in 16 bits.
  std::int16_t minus_pairs[3][2];
};

/// A row of n activations of 8 bits: for many tokens, where multiplying is the limit.
struct CoarseRow {
  std::int8_t* q;       ///< [n]
  CoarseGroup* groups;  ///< [n / kActivationGroup]
};

/// A row of n activations of 15 bits: for few tokens, where memory is the limit and a second byte
/// costs nothing. In `q` they lie as the SIMD target likes them.
struct FineRow {
  std::int8_t* q;    ///< [fine_bytes(n)]
  float* scale;      ///< [n / kActivationGroup]
  float* sum;        ///< likewise: scale · Σq
  float* half_sum;   ///< [n / 16]: the same for groups of 16
};

/// Bytes of n numbers of FineRow::q in one order: two of each, filled up to a multiple of 128.
constexpr std::size_t fine_order_bytes(std::size_t n) { return 2 * ((n + 127) / 128 * 128); }

/// Bytes of FineRow::q for n numbers on any target: in up to three orders.
constexpr std::size_t fine_bytes(std::size_t n) { return 3 * fine_order_bytes(n); }

/// How activations are given to the weights of quantised formats.
enum class ActivationForm : std::uint8_t {
  fine,    ///< FineRow: for few tokens
  coarse,  ///< CoarseRow: for many
  bf16     ///< bfloat16, rounded to nearest even: likewise, for kernels with Kernels::bf16_tokens
};

/// Tokens whose bfloat16 activations lie together, 32 columns of each beside the same of the next.
inline constexpr std::size_t kBf16Tokens = 32;

/// `tokens` rows of activations: floats, which float weights are multiplied with, and one of the
/// other forms. Sums within a group are exact integers. All pointers are 64-byte aligned,
/// rows are dense. Behind the last row of each array kActivationPadding bytes may be read.
struct Activations {
  std::size_t tokens = 0;      ///< rows
  std::size_t cols = 0;        ///< numbers per row
  const float* f32 = nullptr;  ///< [tokens, cols]
  ActivationForm form = ActivationForm::fine;  ///< which of the following there is
  CoarseRow coarse_rows{};                     ///< [tokens] of them
  FineRow fine_rows{};                         ///< [tokens] of them
  const std::uint16_t* bf16 = nullptr;         ///< [⌈tokens / kBf16Tokens⌉, cols / 32, kBf16Tokens, 32]
};

/// Bytes that kernels may read behind the last row, and ignore.
inline constexpr std::size_t kActivationPadding = 512;

/// From this many tokens on they should be coarse, or bf16.
inline constexpr std::size_t kCoarseTokens = 9;

/// out[t · out_stride + r] = Σ_c W[r, c] · x[t, c].
struct MatmulArgs {
  WeightMatrix weights;        ///< [R, C]
  Activations x;               ///< [T, C]
  float* out = nullptr;        ///< [T, out_stride], of which R are written
  std::size_t out_stride = 0;  ///< floats; at least R
};

/// Outputs that lie together in LowRankArgs::b.
inline constexpr std::size_t kLowRankRows = 32;

/// Floats of LowRankArgs::b.
constexpr std::size_t low_rank_floats(std::size_t rank, std::size_t rows) {
  return (rows + kLowRankRows - 1) / kLowRankRows * kLowRankRows * rank;
}

/// out[t · out_stride + r] += Σ_k x[t · x_stride + k] · B[r, k]: what a matrix of low rank adds.
struct LowRankArgs {
  const float* x = nullptr;    ///< [T, x_stride], of which `rank` are read
  std::size_t x_stride = 0;    ///< floats; at least `rank`
  const float* b = nullptr;    ///< B: [R / kLowRankRows, rank, kLowRankRows], the last filled up
  std::size_t rank = 0;        ///< K
  std::size_t tokens = 0;      ///< T
  float* out = nullptr;        ///< [T, out_stride], of which R are added to
  std::size_t out_stride = 0;  ///< floats; at least R
};

/// Numbers of the KV cache. q8_0: blocks as those of quant::Q8_0, for heads of whole blocks.
enum class KvType : std::uint8_t {
  f32,   ///< IEEE 754 binary32
  f16,   ///< IEEE 754 binary16, rounded to nearest even
  bf16,  ///< bfloat16, rounded to nearest even
  q8_0   ///< 34 bytes for 32 numbers
};

/// "f32", "f16", "bf16" or "q8_0".
constexpr const char* kv_type_name(KvType type) {
  constexpr const char* kNames[] = {"f32", "f16", "bf16", "q8_0"};
  return kNames[static_cast<std::size_t>(type)];
}

/// Bytes of n numbers of the KV cache.
constexpr std::size_t kv_bytes(KvType type, std::size_t n) {
  if (type == KvType::q8_0) return n / quant::Q8_0::kBlockElements * quant::Q8_0::kBlockBytes;
  return n * (type == KvType::f32 ? 4 : 2);
}

/// Attention of `tokens` queries at positions first_position, first_position + 1, … over a
/// ring buffer of keys and values: position p lies in slot p % capacity. The queries' own keys and
/// values are already in it.
struct AttentionArgs {
  const float* q = nullptr;           ///< [tokens, heads, head_dim], after RoPE
  float* out = nullptr;               ///< [tokens, heads, head_dim]
  const std::uint8_t* k = nullptr;    ///< [capacity, kv_heads, head_dim] of kv_type
  const std::uint8_t* v = nullptr;    ///< likewise
  KvType kv_type = KvType::f32;       ///< of k and v
  std::size_t tokens = 0;             ///< queries, at neighbouring positions
  std::size_t heads = 0;              ///< of queries
  std::size_t kv_heads = 0;           ///< query head h reads KV head h / (heads / kv_heads)
  std::size_t head_dim = 0;           ///< d, of queries, keys and values
  std::size_t first_position = 0;     ///< of the first query
  std::size_t capacity = 0;           ///< positions
  std::size_t window = 0;             ///< keys seen, the token's own included; 0: all
  bool bidirectional = false;         ///< as many keys are seen after the token as before it
  float scale = 1.0f;                 ///< of q·k
  float softcap = 0.0f;               ///< cap · tanh(s / cap) before the mask; 0: none
};

/// Bytes of scratch each thread must give to matmul() and attention(), 64-byte aligned.
inline constexpr std::size_t kScratchBytes = 512 * 1024;

/// Keys that attention() looks at together.
inline constexpr std::size_t kKeyBlock = 64;
/// The largest head whose block of keys fits the scratch as floats, which KvType::q8_0 needs.
inline constexpr std::size_t kLargestQuantizedHead = kScratchBytes / kKeyBlock / sizeof(float);

/// One target's kernels. Every result depends on its own inputs only, never on how rows or tokens
/// were divided among calls: so any number of threads gives the same bits.
struct Kernels {
  const char* target;  ///< Highway's name of the SIMD target, such as "AVX3_ZEN4"; "AVX2_VNNI", "AMX"
  /// From this many tokens on activations should be bf16. Kernels that cannot have no such number.
  std::size_t bf16_tokens = (std::numeric_limits<std::size_t>::max)();

  /// One row of n floats, n a multiple of kActivationGroup, to 8 bits.
  void (*quantize_coarse)(const float* x, std::size_t n, const CoarseRow& out);
  /// The same to 15 bits.
  void (*quantize_fine)(const float* x, std::size_t n, const FineRow& out);
  /// One row of n floats to bfloat16: 32 of them to `out`, the next 32 to out + 32 · kBf16Tokens, and so on.
  /// Null where there is no bf16_tokens.
  void (*round_to_bf16)(const float* x, std::size_t n, std::uint16_t* out);
  /// Rows [row_begin, row_end) of the product, for all tokens.
  void (*matmul)(const MatmulArgs& args, std::size_t row_begin, std::size_t row_end,
                 std::uint8_t* scratch);
  /// `count` rows of the product that lie anywhere, for all tokens.
  void (*matmul_rows)(const MatmulArgs& args, const std::uint32_t* rows, std::size_t count,
                      std::uint8_t* scratch);
  /// Adds to outputs [row_begin, row_end) of all tokens, k by k; row_begin a multiple of kLowRankRows.
  void (*add_low_rank)(const LowRankArgs& args, std::size_t row_begin, std::size_t row_end);
  /// Writes a group of rows of a sketch, given as floats [kSketchRows, cols].
  void (*make_sketch)(const float* rows, std::size_t group, const Sketch& sketch);
  /// Groups [group_begin, group_end) of a sketch times a token, x [blocks]: the product with the matrix
  /// itself is about out[r], and at most most[r], which is not a number where nothing is known. Both
  /// are [groups · kSketchRows].
  void (*multiply_sketch)(const Sketch& sketch, const SketchedActivations* x, std::size_t group_begin,
                          std::size_t group_end, float* out, float* most);
  /// Query heads [head_begin, head_end) of queries [token_begin, token_end). For bf16_tokens or more, unless the
  /// cache holds float32, queries times scale, keys, values and the softmax's weights may be rounded to bfloat16.
  void (*attention)(const AttentionArgs& args, std::size_t token_begin, std::size_t token_end,
                    std::size_t head_begin, std::size_t head_end, std::uint8_t* scratch);
  /// out = x / sqrt(mean(x²) + eps) · gain; gain null: 1. out may be x.
  void (*rms_norm)(const float* x, const float* gain, std::size_t n, float eps, float* out);
  /// x += y.
  void (*add)(const float* y, std::size_t n, float* x);
  /// x *= factor.
  void (*scale)(float factor, std::size_t n, float* x);
  /// out = gelu_tanh(gate) · up. out may be gate.
  void (*gelu_mul)(const float* gate, const float* up, std::size_t n, float* out);
  /// Rotates the pairs (x[i], x[i + half]) by the angles given as cos[half], sin[half].
  void (*rope)(const float* cos, const float* sin, std::size_t half, float* x);
  /// x = cap · tanh(x / cap).
  void (*softcap)(float cap, std::size_t n, float* x);
  /// Stores n floats as numbers of the KV cache.
  void (*store_kv)(const float* x, std::size_t n, KvType type, std::uint8_t* out);
  /// Index of the largest element, the first of equals; n > 0. NaN never wins.
  std::size_t (*argmax)(const float* x, std::size_t n);
  /// Multiplies and adds in registers what matmul() does for many tokens, to be timed: its roof. Returns how many
  /// products it made; `out` keeps the compiler from leaving them out.
  std::size_t (*multiply_most)(std::size_t rounds, std::int32_t* out);
};

/// The kernels to use on this machine. The environment variable GEMMA_SIMD_TARGETS, a comma-separated list, restricts
/// the choice, for tests: with GEMMA_DYNAMIC_DISPATCH to "AVX2,SSE4", say, and anywhere, by not naming "AMX", to do
/// without that.
const Kernels& kernels();

/// The kernels of every target that is compiled in and that this CPU has, the best first.
std::vector<Kernels> all_kernels();

/// Bytes of CoarseRow::q of many tokens, or of what takes its place in Activations::bf16.
inline std::size_t many_tokens_bytes(const Kernels& kernels, std::size_t tokens, std::size_t cols) {
  if (tokens < kernels.bf16_tokens) return tokens * cols;
  return 2 * ((tokens + kBf16Tokens - 1) / kBf16Tokens * kBf16Tokens) * cols;
}

/// The form of activations that is best for so many tokens.
inline ActivationForm best_form(const Kernels& kernels, std::size_t tokens) {
  if (tokens >= kernels.bf16_tokens) return ActivationForm::bf16;
  return tokens >= kCoarseTokens ? ActivationForm::coarse : ActivationForm::fine;
}

}  // namespace simd
GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/simd/impl/kernels-inl.hpp"
#endif

#endif  // GEMMA_SIMD_KERNELS_HPP_
