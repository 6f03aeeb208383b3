// From tensors to weights by role.
#ifndef GEMMA_GENERATE_BIND_WEIGHTS_HPP_
#define GEMMA_GENERATE_BIND_WEIGHTS_HPP_

#include "gemma/base/error.hpp"
#include "gemma/generate/model_source.hpp"
#include "gemma/model/config.hpp"
#include "gemma/model/weights.hpp"

GEMMA_NAMESPACE_BEGIN

/// All tensors the family needs, each of the shape the config demands; matrices stay in place.
/// With `let_go`, what reading the norms brought into memory around them is released again. Errors
/// name the file and the tensor, what was found and expected.
Result<Weights> bind_weights(const TensorSource& source, const Config& config,
                             bool let_go = false);

GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/generate/impl/bind_weights-inl.hpp"
#endif

#endif  // GEMMA_GENERATE_BIND_WEIGHTS_HPP_
