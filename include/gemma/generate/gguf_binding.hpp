// What a GGUF file's keys and tensor names mean: GGUF → Config, Weights, Vocabulary.
// Source: the GGUF specification and llama.cpp's conventions for the architectures gemma, gemma2
// and gemma3.
#ifndef GEMMA_GENERATE_GGUF_BINDING_HPP_
#define GEMMA_GENERATE_GGUF_BINDING_HPP_

#include <string>

#include "gemma/base/error.hpp"
#include "gemma/formats/gguf.hpp"
#include "gemma/model/config.hpp"
#include "gemma/model/weights.hpp"
#include "gemma/text/vocabulary.hpp"

GEMMA_NAMESPACE_BEGIN
namespace gguf {

/// Sizes and constants from the metadata, checked by check_config().
Result<Config> read_config(const File& file);

/// All tensors the family needs, each of the shape the config demands; matrices in place.
Result<Weights> bind_weights(const File& file, const Config& config);

/// The tokenizer's pieces as views into the file, which must stay open.
Result<Vocabulary> read_vocabulary(const File& file);

}  // namespace gguf
GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/generate/impl/gguf_binding-inl.hpp"
#endif

#endif  // GEMMA_GENERATE_GGUF_BINDING_HPP_
