// The logit lens: what would the model say if it had to stop after layer n?
//
// The residual stream can be read after any layer, by the same head. A model with its last layers cut off
// does just that. (nostalgebraist, "interpreting GPT: the logit lens", 2020.)
//
// Build: g++ -std=c++17 -O2 -march=native -I include examples/07_logit_lens.cpp -o logit_lens -pthread
// Run:   ./logit_lens "$(tools/get_model)" "The capital of France is"
// Or, without a download: ./logit_lens tests/data/kjv-small.gguf "In the beginning God created the heaven and the"
#include <gemma/gemma.hpp>
#include <gemma/model/reference.hpp>
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

int main(int argc, char** argv) {
  const gemma::Model model = gemma::load(argc > 1 ? argv[1] : "tests/data/kjv-small.gguf");
  const std::string prompt = argc > 2 ? argv[2] : "In the beginning God created the heaven and the";
  const gemma::Tokenizer& tokenizer = model.tokenizer();
  gemma::EncodeOptions with_bos;
  with_bos.bos = tokenizer.add_bos();
  const std::vector<gemma::TokenId> ids = tokenizer.encode(prompt, with_bos);
  const std::size_t layers = model.config().layers.size();

  // The token that the whole model chooses; where does it come up?
  gemma::reference::Model whole(model.config(), model.weights());
  const std::vector<float> end = whole.forward({ids.data(), ids.size()}, 1).values;
  const gemma::TokenId answer = gemma::greedy_token({end.data(), end.size()});
  std::printf("%s ...\"%s\"\n\nlayers   place of the answer   probability   likeliest now\n", prompt.c_str(),
              tokenizer.token_bytes(answer).c_str());

  for (std::size_t n = 0; n <= layers; ++n) {
    gemma::Config cut = model.config();
    cut.layers.resize(n);
    gemma::reference::Model first_layers(cut, model.weights());
    std::vector<float> p = first_layers.forward({ids.data(), ids.size()}, 1).values;
    const gemma::TokenId best = gemma::greedy_token({p.data(), p.size()});
    const float mine = p[static_cast<std::size_t>(answer)];
    const auto place = std::count_if(p.begin(), p.end(), [&](float logit) { return logit > mine; }) + 1;
    gemma::reference::softmax(p);
    std::printf("%6zu   %19ld   %9.2f %%   '%s'\n", n, static_cast<long>(place),
                100.0 * double{p[static_cast<std::size_t>(answer)]}, tokenizer.token_bytes(best).c_str());
  }
}
