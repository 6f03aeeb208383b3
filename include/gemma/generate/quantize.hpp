// Writes a model, whatever files it came from, as a GGUF file in other number formats.
#ifndef GEMMA_GENERATE_QUANTIZE_HPP_
#define GEMMA_GENERATE_QUANTIZE_HPP_

#include <cstddef>
#include <cstdint>
#include <string>

#include "gemma/base/error.hpp"
#include "gemma/base/progress.hpp"
#include "gemma/base/span.hpp"
#include "gemma/generate/model.hpp"
#include "gemma/quant/types.hpp"

GEMMA_NAMESPACE_BEGIN

/// Which formats a file's matrices get, as in the files of llama.cpp that go by the same name. Norms
/// and the small matrices that steer a model (routers, AltUp's coefficients) stay float32; a few
/// sensitive ones get Q8_0 at least. Where rows are not whole blocks of 256, Q4_K becomes Q5_0, Q5_K
/// Q5_1, and Q6_K Q8_0.
struct QuantizeScheme {
  /// Which of the attn_v and ffn_down matrices are boosted.
  enum class Boost {
    none,   ///< no matrix
    first,  ///< those of the first layers
    many    ///< those of the outer quarter of the layers and of every third between
  };

  const char* name;         ///< "q4_k_m"
  const char* description;  ///< for a list of schemes: bits per weight, and what for
  DType matrices;           ///< the format of all that no rule makes an exception of
  DType embedding;          ///< also the output head
  DType boosted;            ///< what the boosted matrices get instead of `matrices`
  Boost boost;              ///< which these are
  std::uint32_t file_type;  ///< as "general.file_type" says it
};

/// All schemes that are formats, from the largest files to the smallest.
Span<const QuantizeScheme> quantize_schemes();

/// Null if there is none of that name, in any case; "q4_k_s" is q4_k, "q5_k_s" is q5_k.
const QuantizeScheme* find_quantize_scheme(const std::string& name);

/// "keep", for converting files: matrices in formats that GGUF has stay as they are, to the bit. Of integers
/// with a scale for each row, as in MediaPipe's files, the integers stay: 8 bits become Q8_0, 4 bits
/// Q4_0 (Q4_1 with zero points), and the scale is rounded to a half; 8 bits with zero points become
/// F16.
const QuantizeScheme& keep_scheme();

/// How quantize() works, whatever the scheme.
struct QuantizeOptions {
  bool pure = false;        ///< every matrix in the scheme's format, the embedding too
  std::size_t threads = 0;  ///< 0: as many as the machine runs at once
  ProgressFn progress;      ///< in bytes of the new file
};

/// What was written.
struct QuantizeReport {
  std::uint64_t bytes_before = 0;   ///< of the model's tensors
  std::uint64_t bytes_after = 0;    ///< of the tensors in the new file
  std::size_t tensors = 0;          ///< in the new file
};

/// Writes `model` to `path`, which appears only when it is complete. Metadata and tokenizer are kept:
/// of a GGUF file as they are, else in the keys GGUF has for them. Errors: weights that are not
/// numbers; the disk is full; cancelled.
Result<QuantizeReport> quantize(const Model& model, const QuantizeScheme& scheme,
                                const std::string& path, const QuantizeOptions& options = {});

GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/generate/impl/quantize-inl.hpp"
#endif

#endif  // GEMMA_GENERATE_QUANTIZE_HPP_
