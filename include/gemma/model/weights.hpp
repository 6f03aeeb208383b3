// The weights of a model by their role in it.
#ifndef GEMMA_MODEL_WEIGHTS_HPP_
#define GEMMA_MODEL_WEIGHTS_HPP_

#include <type_traits>
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
  AltUpWeights altup;               ///< Gemma 3n's
  ExpertWeights experts;            ///< of Gemma 4's mixtures
};

/// All of them. The matrices lie in the file, which the owner keeps mapped.
struct Weights {
  WeightMatrix embedding;                   ///< [V, D]
  std::vector<LayerWeights> layers;         ///< as many as Config::layers
  NormWeights output_norm;                  ///< [D]
  WeightMatrix head;                        ///< [V, D]; the embedding itself where they are tied
  std::vector<WeightMatrix> dense;          ///< EmbeddingGemma: applied to the mean of a text, in order
  WeightMatrix ple_embedding;               ///< [V', L·P]
  WeightMatrix ple_projection;              ///< [L·P, D]
  NormWeights ple_projection_norm;          ///< [P]
  std::vector<WeightMatrix> altup_project;  ///< n − 1 of [D, D]: stream 0 → stream j
  std::vector<WeightMatrix> altup_unembed;  ///< n − 1 of [D, D]: and back
};

/// visit_weights() for one layer.
template <class AnyLayer, class OnMatrices, class OnNorm>
void visit_layer(AnyLayer& l, const OnMatrices& on_matrices, const OnNorm& on_norm) {
  using Matrix = std::remove_reference_t<decltype((l.q))>;
  using List = std::vector<Matrix*>;
  on_matrices(List{&l.q, &l.k, &l.v});
  for (Matrix* m : {&l.attention_out, &l.gate, &l.up, &l.down, &l.ple_gate, &l.ple_out,
                    &l.altup.router, &l.altup.predict, &l.altup.correct, &l.altup.laurel_left,
                    &l.altup.laurel_right, &l.experts.router, &l.experts.gate_up,
                    &l.experts.gate, &l.experts.up, &l.experts.down}) {
    on_matrices(List{m});
  }
  for (auto* n : {&l.attention_norm, &l.q_norm, &l.k_norm, &l.post_attention_norm, &l.ffn_norm,
                  &l.post_ffn_norm, &l.ple_norm, &l.altup.router_norm, &l.altup.correct_scale,
                  &l.altup.laurel_norm, &l.experts.router_norm, &l.experts.dense_post_norm,
                  &l.experts.norm, &l.experts.post_norm}) {
    on_norm(*n);
  }
}

/// Calls on_matrices(pointers to matrices that are multiplied with the same input) and on_norm(gains)
/// for all weights; some are empty. EmbeddingGemma's dense modules, which are no part of the
/// transformer, are left out. AnyWeights is Weights or const Weights.
template <class AnyWeights, class OnMatrices, class OnNorm>
void visit_weights(AnyWeights& w, const OnMatrices& on_matrices, const OnNorm& on_norm) {
  using Matrix = std::remove_reference_t<decltype((w.head))>;
  using List = std::vector<Matrix*>;
  for (Matrix* m : {&w.embedding, &w.head, &w.ple_embedding, &w.ple_projection}) {
    on_matrices(List{m});
  }
  for (Matrix& m : w.altup_project) on_matrices(List{&m});
  for (Matrix& m : w.altup_unembed) on_matrices(List{&m});
  on_norm(w.output_norm);
  on_norm(w.ple_projection_norm);
  for (auto& l : w.layers) visit_layer(l, on_matrices, on_norm);
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_MODEL_WEIGHTS_HPP_
