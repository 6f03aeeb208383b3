// Adapters as GGUF files and as MediaPipe's, up to what is added to a model's weights. What is fuzzed is the
// head; the numbers behind it are any bytes.
#include <vector>

#include "fuzz/target.hpp"
#include "gemma/generate/adapter.hpp"
#include "test_data.hpp"

void fuzz(gemma::Bytes bytes) {
  static const gemma::Model model = gemma::load(data_path("golden/gemma1_mqa/model-q8_0.gguf"));
  constexpr std::size_t kNumbers = 40'000;
  std::vector<std::uint8_t> file(bytes.begin(), bytes.end());
  file.resize(bytes.size() + kNumbers, 1);
  use(gemma::try_load_adapter_bytes(gemma::Bytes(file), "fuzz", model), model);
}
