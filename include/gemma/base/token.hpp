// The type of token ids, shared by tokenizer, model and samplers.
#ifndef GEMMA_BASE_TOKEN_HPP_
#define GEMMA_BASE_TOKEN_HPP_

#include <cstdint>

#include "gemma/config.hpp"

GEMMA_NAMESPACE_BEGIN

/// Index of a piece in the vocabulary.
using TokenId = std::int32_t;

GEMMA_NAMESPACE_END

#endif  // GEMMA_BASE_TOKEN_HPP_
