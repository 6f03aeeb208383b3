// From tensors to weights by role. Tensors go by their GGUF names here, whatever file they are in;
// a reader of another format translates (TensorSource::own_name).
#ifndef GEMMA_GENERATE_BIND_WEIGHTS_HPP_
#define GEMMA_GENERATE_BIND_WEIGHTS_HPP_

#include <string>

#include "gemma/base/error.hpp"
#include "gemma/formats/tensor.hpp"
#include "gemma/model/config.hpp"
#include "gemma/model/weights.hpp"

GEMMA_NAMESPACE_BEGIN

/// An open model file, seen as tensors with GGUF names.
class TensorSource {
 public:
  virtual ~TensorSource() = default;
  /// Null if there is none.
  virtual const TensorView* find_tensor(const std::string& gguf_name) const = 0;
  /// The file, for messages.
  virtual std::string name() const = 0;
  /// What the file itself calls that tensor.
  virtual std::string own_name(const std::string& gguf_name) const { return gguf_name; }
  /// Added to stored RMSNorm weights to get the gains: 1 where files hold g − 1.
  virtual float norm_offset() const { return 0.0f; }
};

/// All tensors the family needs, each of the shape the config demands; matrices stay in place.
/// Errors name the file and the tensor, what was found and expected.
Result<Weights> bind_weights(const TensorSource& source, const Config& config);

GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/generate/impl/bind_weights-inl.hpp"
#endif

#endif  // GEMMA_GENERATE_BIND_WEIGHTS_HPP_
