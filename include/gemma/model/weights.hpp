// The weights of a model by their role in it.
#ifndef GEMMA_MODEL_WEIGHTS_HPP_
#define GEMMA_MODEL_WEIGHTS_HPP_

#include <vector>

#include "gemma/model/config.hpp"
#include "gemma/quant/matrix.hpp"

GEMMA_NAMESPACE_BEGIN

/// The gains g of an RMSNorm, y = x / rms(x) · g (files that store g − 1 have it added on loading).
using NormWeights = std::vector<float>;

/// One transformer block. Matrices are [out, in]; norms a family lacks are empty.
struct LayerWeights {
  NormWeights attention_norm;       ///< [D]
  WeightMatrix q;                   ///< [H·d, D]
  WeightMatrix k;                   ///< [K·d, D]
  WeightMatrix v;                   ///< [K·d, D]
  NormWeights q_norm;               ///< [d], one for all heads
  NormWeights k_norm;               ///< [d]
  WeightMatrix attention_out;       ///< [D, H·d]
  NormWeights post_attention_norm;  ///< [D]
  NormWeights ffn_norm;             ///< [D]
  WeightMatrix gate;                ///< [I, D]
  WeightMatrix up;                  ///< [I, D]
  WeightMatrix down;                ///< [D, I]
  NormWeights post_ffn_norm;        ///< [D]
};

/// All of them. The matrices lie in the file, which the owner keeps mapped.
struct Weights {
  WeightMatrix embedding;           ///< [V, D]
  std::vector<LayerWeights> layers;
  NormWeights output_norm;          ///< [D]
  WeightMatrix head;                ///< [V, D]; the embedding itself where they are tied
};

GEMMA_NAMESPACE_END

#endif  // GEMMA_MODEL_WEIGHTS_HPP_
