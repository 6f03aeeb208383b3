// The weights of a model by their role in it.
#ifndef GEMMA_MODEL_WEIGHTS_HPP_
#define GEMMA_MODEL_WEIGHTS_HPP_

#include <vector>

#include "gemma/model/config.hpp"
#include "gemma/quant/matrix.hpp"

GEMMA_NAMESPACE_BEGIN

/// The gains g of an RMSNorm, y = x / rms(x) · g (files that store g − 1 have it added on loading).
using NormWeights = std::vector<float>;

/// AltUp and LAuReL of one Gemma 3n block; n streams, rank r.
struct AltUpWeights {
  WeightMatrix router;              ///< [n, D]
  NormWeights router_norm;          ///< [D]
  WeightMatrix predict;             ///< [n·n, n]
  WeightMatrix correct;             ///< [n, n]
  NormWeights correct_scale;        ///< [D]; empty: 1
  WeightMatrix laurel_left;         ///< [r, D]
  WeightMatrix laurel_right;        ///< [D, r]
  NormWeights laurel_norm;          ///< [D]
};

/// The mixture of experts of one Gemma 4 block, beside its dense feed-forward.
struct ExpertWeights {
  WeightMatrix router;              ///< [E, D]
  NormWeights router_norm;          ///< [D], the stored scale times D^-½
  NormWeights expert_scale;         ///< [E]
  WeightMatrix gate_up;             ///< [E·2·Ie, D]: of each expert first its gate, then its up
  WeightMatrix gate;                ///< [E·Ie, D], where gate_up is stored as two
  WeightMatrix up;                  ///< [E·Ie, D]
  WeightMatrix down;                ///< [E·D, Ie]
  NormWeights dense_post_norm;      ///< [D]
  NormWeights norm;                 ///< [D]
  NormWeights post_norm;            ///< [D]
};

/// One transformer block. Matrices are [out, in]; what a family or layer lacks is empty.
struct LayerWeights {
  NormWeights attention_norm;       ///< [D]
  WeightMatrix q;                   ///< [H·d, D]
  WeightMatrix k;                   ///< [K·d, D]; empty where keys and values are shared
  WeightMatrix v;                   ///< [K·d, D]; empty also where the keys serve as values
  NormWeights q_norm;               ///< [d], one for all heads
  NormWeights k_norm;               ///< [d]
  WeightMatrix attention_out;       ///< [D, H·d]
  NormWeights post_attention_norm;  ///< [D]
  NormWeights ffn_norm;             ///< [D]
  WeightMatrix gate;                ///< [I, D]
  WeightMatrix up;                  ///< [I, D]
  WeightMatrix down;                ///< [D, I]
  NormWeights post_ffn_norm;        ///< [D]
  WeightMatrix ple_gate;            ///< [P, D]
  WeightMatrix ple_out;             ///< [D, P]
  NormWeights ple_norm;             ///< [D]
  float scale = 1.0f;               ///< of the residual stream after the block
  AltUpWeights altup;
  ExpertWeights experts;
};

/// All of them. The matrices lie in the file, which the owner keeps mapped.
struct Weights {
  WeightMatrix embedding;                   ///< [V, D]
  std::vector<LayerWeights> layers;
  NormWeights output_norm;                  ///< [D]
  WeightMatrix head;                        ///< [V, D]; the embedding itself where they are tied
  std::vector<WeightMatrix> dense;          ///< EmbeddingGemma: applied to the mean of a text, in order
  WeightMatrix ple_embedding;               ///< [V', L·P]
  WeightMatrix ple_projection;              ///< [L·P, D]
  NormWeights ple_projection_norm;          ///< [P]
  std::vector<WeightMatrix> altup_project;  ///< n − 1 of [D, D]: stream 0 → stream j
  std::vector<WeightMatrix> altup_unembed;  ///< n − 1 of [D, D]: and back
};

GEMMA_NAMESPACE_END

#endif  // GEMMA_MODEL_WEIGHTS_HPP_
