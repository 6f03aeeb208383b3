// Where a head looks: the attention of one layer as a picture, tokens across and down.
//
// Build: g++ -std=c++17 -O2 -march=native -I include examples/08_attention_map.cpp -o attention_map -pthread
// Run:   ./attention_map "$(tools/get_model)" 5 "When Mary and John went to the store, John gave a drink to" > map.svg
// Or, without a download: ./attention_map tests/data/kjv-small.gguf 5 > map.svg
#include <gemma/gemma.hpp>
#include <gemma/model/reference.hpp>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

using gemma::reference::Matrix;

/// Norm and RoPE of every head of every token, as the model does it before it compares them.
void prepare(Matrix& x, const gemma::NormWeights& gain, const gemma::Config& config,
             const gemma::LayerConfig& layer) {
  for (std::size_t t = 0; t < x.rows; ++t) {
    for (std::size_t at = 0; at < x.cols; at += layer.head_dim) {
      if (!gain.empty()) gemma::reference::rms_norm(x.row(t) + at, layer.head_dim, gain, config.norm_eps);
      gemma::reference::rope(config, layer, t, x.row(t) + at);
    }
  }
}

/// What the first n layers make of a text: the residual stream, [T, D].
Matrix residual_after(std::size_t n, const gemma::Model& model, const std::vector<gemma::TokenId>& ids) {
  gemma::Config cut = model.config();
  cut.layers.resize(n);
  auto runner = gemma::create_cpu_runner(cut, model.weights(), gemma::CpuOptions()).value();
  Matrix x(ids.size(), cut.width);
  gemma::Outputs outputs;
  outputs.residual = [&](gemma::Span<const float> stream) { x.values.assign(stream.begin(), stream.end()); };
  const gemma::Status done = runner->forward({ids.data(), ids.size()}, outputs);
  if (!done) std::fprintf(stderr, "%s\n", done.error().message().c_str()), std::exit(1);
  return x;
}

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '<') out += "&lt;";
    else if (c == '&') out += "&amp;";
    else out += c == '\n' ? '~' : c;
  }
  return out;
}

int main(int argc, char** argv) {
  const gemma::Model model = gemma::load(argc > 1 ? argv[1] : "tests/data/kjv-small.gguf");
  const std::size_t index = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 5;
  const std::string text = argc > 3 ? argv[3] : "And Moses spake unto the people, and the people said unto Moses";
  const gemma::Config& config = model.config();
  if (index >= config.layers.size()) return std::fprintf(stderr, "there is no layer %zu\n", index), 1;
  gemma::EncodeOptions with_bos;
  with_bos.bos = model.tokenizer().add_bos();
  const auto ids = model.tokenizer().encode(text, with_bos);

  const gemma::LayerConfig& layer = config.layers[index];
  const gemma::LayerWeights& w = model.weights().layers[index];
  const Matrix h = gemma::reference::rms_norm(residual_after(index, model, ids), w.attention_norm, config.norm_eps);
  Matrix q = gemma::reference::matmul(w.q, h), k = gemma::reference::matmul(w.k, h);
  prepare(q, w.q_norm, config, layer);
  prepare(k, w.k_norm, config, layer);

  const std::size_t n = ids.size(), cell = 14, margin = 110, side = margin + n * cell + 10;
  std::printf("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%zu\" height=\"%zu\" font-family=\"sans-serif\""
              " font-size=\"10\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n", side * config.heads, side);
  for (std::size_t head = 0; head < config.heads; ++head) {
    std::printf("<g transform=\"translate(%zu 0)\"><text x=\"4\" y=\"14\">layer %zu, head %zu</text>\n", head * side, index, head);
    for (std::size_t t = 0; t < n; ++t) {
      const std::size_t at = margin + t * cell;
      const std::string piece = escaped(model.tokenizer().token_bytes(ids[t], true));
      std::printf("<text x=\"%zu\" y=\"%zu\" text-anchor=\"end\">%s</text>\n", margin - 4, at + 11, piece.c_str());
      std::printf("<text transform=\"translate(%zu %zu) rotate(-90)\">%s</text>\n", at + 11, margin - 4, piece.c_str());
      const std::size_t first = layer.window > 0 && t >= layer.window ? t + 1 - layer.window : 0;
      std::vector<float> scores;
      for (std::size_t j = first; j <= t; ++j) {
        const float* key = k.row(j) + head / (config.heads / layer.kv_heads) * layer.head_dim;
        const float score = gemma::reference::dot(q.row(t) + head * layer.head_dim, key, layer.head_dim);
        scores.push_back(gemma::reference::softcap(score * config.attention_scale, config.attention_softcap));
      }
      gemma::reference::softmax(scores);
      for (std::size_t j = first; j <= t; ++j) {
        std::printf("<rect x=\"%zu\" y=\"%zu\" width=\"%zu\" height=\"%zu\" fill=\"#c03020\" fill-opacity=\"%.3f\"/>\n",
                    margin + j * cell, at, cell - 1, cell - 1, std::sqrt(double{scores[j - first]}));
      }
    }
    std::printf("</g>\n");
  }
  std::printf("</svg>\n");
}
