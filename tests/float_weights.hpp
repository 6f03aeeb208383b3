// The weights of a quantised model as float32, so that only an engine's own rounding parts it
// from a float32 run of the same weights.
#ifndef GEMMA_TESTS_FLOAT_WEIGHTS_HPP_
#define GEMMA_TESTS_FLOAT_WEIGHTS_HPP_

#include <cstddef>
#include <cstdint>
#include <list>
#include <vector>

#include "gemma/model/weights.hpp"
#include "gemma/quant/registry.hpp"

/// Owns the numbers that its weights() refer to.
class FloatWeights {
 public:
  explicit FloatWeights(const gemma::Weights& weights) : weights_(weights) {
    gemma::Weights& w = weights_;
    for (auto* m : {&w.embedding, &w.head, &w.ple_embedding, &w.ple_projection}) widen(*m);
    for (gemma::WeightMatrix& m : w.altup_project) widen(m);
    for (gemma::WeightMatrix& m : w.altup_unembed) widen(m);
    for (gemma::LayerWeights& l : w.layers) {
      for (auto* m : {&l.q, &l.k, &l.v, &l.attention_out, &l.gate, &l.up, &l.down, &l.ple_gate,
                      &l.ple_out, &l.altup.router, &l.altup.predict, &l.altup.correct,
                      &l.altup.laurel_left, &l.altup.laurel_right, &l.experts.router,
                      &l.experts.gate_up, &l.experts.gate, &l.experts.up, &l.experts.down}) {
        widen(*m);
      }
    }
  }
  FloatWeights(const FloatWeights&) = delete;
  FloatWeights& operator=(const FloatWeights&) = delete;

  const gemma::Weights& weights() const { return weights_; }

 private:
  void widen(gemma::WeightMatrix& m) {
    if (!m) return;
    std::vector<float>& values = storage_.emplace_back(m.rows * m.cols);
    for (std::size_t r = 0; r < m.rows; ++r) {
      gemma::quant::decode_row(m, r, values.data() + r * m.cols);
    }
    m.type = gemma::DType::F32;
    m.data = reinterpret_cast<const std::uint8_t*>(values.data());
    m.row_bytes = m.cols * sizeof(float);
    m.row_scale = nullptr;
    m.row_zero = nullptr;
  }

  gemma::Weights weights_;
  std::list<std::vector<float>> storage_;
};

#endif  // GEMMA_TESTS_FLOAT_WEIGHTS_HPP_
