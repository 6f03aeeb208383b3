// The inverse of gguf_binding.hpp: a model's shape and vocabulary as GGUF metadata, in the keys that
// llama.cpp reads, too.
#ifndef GEMMA_GENERATE_GGUF_EXPORT_HPP_
#define GEMMA_GENERATE_GGUF_EXPORT_HPP_

#include "gemma/formats/gguf_writer.hpp"
#include "gemma/model/config.hpp"
#include "gemma/text/vocabulary.hpp"

GEMMA_NAMESPACE_BEGIN
namespace gguf {

/// Adds "general.…" and the keys of the architecture.
void add_config(const Config& config, Metadata& metadata);

/// Adds "tokenizer.ggml.…", with pieces for all `rows` rows of the embedding.
void add_vocabulary(const Vocabulary& vocabulary, std::size_t rows, Metadata& metadata);

/// GGUF has no key for the scale of q·k: readers derive it from the shape. The factor by which
/// queries must be multiplied so that the derived scale gives the model's own; 1 for published
/// models.
float query_factor(const Config& config);

}  // namespace gguf
GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/generate/impl/gguf_export-inl.hpp"
#endif

#endif  // GEMMA_GENERATE_GGUF_EXPORT_HPP_
