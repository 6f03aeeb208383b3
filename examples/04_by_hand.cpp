// Gemma 3 by hand: the whole transformer in one page of loops, checked against the library.
//
// Build: g++ -std=c++17 -O2 -march=native -I include examples/04_by_hand.cpp -o by_hand -pthread
// Run:   ./by_hand "$(tools/get_model)"
// Or, without a download: ./by_hand tests/data/kjv-small.gguf
#include <gemma/gemma.hpp>
#include <gemma/model/reference.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <vector>
using Vector = std::vector<float>;

/// y = W x. Rows are decoded from their 4 or 8 bits as they are needed.
Vector times(const gemma::WeightMatrix& w, const Vector& x) {
  Vector y(w.rows), row(w.cols);
  for (std::size_t r = 0; r < w.rows; ++r) {
    gemma::quant::decode_row(w, r, row.data());
    for (std::size_t c = 0; c < w.cols; ++c) y[r] += row[c] * x[c];
  }
  return y;
}

/// x / rms(x) · g, for each n numbers of x by themselves.
Vector norm(Vector x, const Vector& g, std::size_t n) {
  for (std::size_t begin = 0; begin < x.size(); begin += n) {
    float squares = 0.0f;
    for (std::size_t i = 0; i < n; ++i) squares += x[begin + i] * x[begin + i];
    const float rms = std::sqrt(squares / static_cast<float>(n) + 1e-6f);
    for (std::size_t i = 0; i < n; ++i) x[begin + i] *= g[i] / rms;
  }
  return x;
}

/// RoPE: pairs of numbers, half a head apart, turn with the position; the first ones fast, the last slowly.
void turn(Vector& heads, std::size_t d, std::size_t position, const gemma::LayerConfig& layer) {
  for (std::size_t head = 0; head < heads.size(); head += d) {
    for (std::size_t i = 0; i < d / 2; ++i) {
      const float slow = std::pow(layer.rope_base, -2.0f * static_cast<float>(i) / static_cast<float>(d));
      const float angle = static_cast<float>(position) / layer.rope_scale * slow;
      float& a = heads[head + i];
      float& b = heads[head + i + d / 2];
      const float turned = a * std::cos(angle) - b * std::sin(angle);
      b = b * std::cos(angle) + a * std::sin(angle);
      a = turned;
    }
  }
}

void add(const Vector& y, Vector& x) { std::transform(x.begin(), x.end(), y.begin(), x.begin(), std::plus<>()); }

/// Keys and values of all tokens so far, of one layer.
struct Cache {
  std::vector<Vector> keys, values;
};

/// Each query head looks at the keys of its group, and takes the values in proportion.
Vector attend(const Vector& q, const Cache& cache, const gemma::Config& config, const gemma::LayerConfig& layer) {
  const std::size_t d = layer.head_dim, now = cache.keys.size();
  const std::size_t first = layer.window > 0 && now > layer.window ? now - layer.window : 0;
  Vector out(q.size());
  for (std::size_t head = 0; head < config.heads; ++head) {
    const std::size_t kv = head / (config.heads / layer.kv_heads) * d;
    Vector scores(now);
    float sum = 0.0f;
    for (std::size_t t = first; t < now; ++t) {
      for (std::size_t i = 0; i < d; ++i) scores[t] += q[head * d + i] * cache.keys[t][kv + i];
      scores[t] = std::exp(scores[t] * config.attention_scale);
      sum += scores[t];
    }
    for (std::size_t t = first; t < now; ++t) {
      for (std::size_t i = 0; i < d; ++i) out[head * d + i] += scores[t] / sum * cache.values[t][kv + i];
    }
  }
  return out;
}

int main(int argc, char** argv) {
  const gemma::Model model = gemma::load(argc > 1 ? argv[1] : "tests/data/kjv-small.gguf");
  const gemma::Config& config = model.config();
  const std::size_t width = config.width;
  gemma::EncodeOptions with_bos;
  with_bos.bos = true;
  const auto ids = model.tokenizer().encode("In the beginning", with_bos);

  std::vector<Cache> caches(config.layers.size());
  Vector x(width);
  for (std::size_t position = 0; position < ids.size(); ++position) {
    const gemma::WeightMatrix& e = model.weights().embedding;
    gemma::quant::decode_row(e, static_cast<std::size_t>(ids[position]), x.data());
    for (float& value : x) value *= std::sqrt(static_cast<float>(width));
    for (std::size_t i = 0; i < config.layers.size(); ++i) {
      const gemma::LayerConfig& layer = config.layers[i];
      const gemma::LayerWeights& w = model.weights().layers[i];
      Vector h = norm(x, w.attention_norm, width);
      Vector q = norm(times(w.q, h), w.q_norm, layer.head_dim);
      Vector k = norm(times(w.k, h), w.k_norm, layer.head_dim);
      turn(q, layer.head_dim, position, layer);
      turn(k, layer.head_dim, position, layer);
      caches[i].keys.push_back(k);
      caches[i].values.push_back(times(w.v, h));
      add(norm(times(w.attention_out, attend(q, caches[i], config, layer)), w.post_attention_norm, width), x);

      h = norm(x, w.ffn_norm, width);
      Vector gate = times(w.gate, h);
      const Vector up = times(w.up, h);
      for (std::size_t n = 0; n < gate.size(); ++n) gate[n] = gemma::reference::gelu(gate[n]) * up[n];
      add(norm(times(w.down, gate), w.post_ffn_norm, width), x);
    }
  }
  const Vector logits = times(model.weights().head, norm(x, model.weights().output_norm, width));

  gemma::Session session(model);
  const Vector expected = session.logits(ids);
  float worst = 0.0f;
  for (std::size_t i = 0; i < logits.size(); ++i) worst = std::max(worst, std::abs(logits[i] - expected[i]));
  const auto best = [&](const Vector& v) {
    return model.tokenizer().token_bytes(gemma::greedy_token({v.data(), v.size()}));
  };
  std::printf("after \"In the beginning\" comes \"%s\"; the library says \"%s\"\n", best(logits).c_str(),
              best(expected).c_str());
  std::printf("largest difference of %zu logits: %.4f\n", logits.size(), double{worst});
}
