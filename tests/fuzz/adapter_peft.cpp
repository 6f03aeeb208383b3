// PEFT's adapters: the text up to the first zero is adapter_config.json, the rest the head of
// adapter_model.safetensors, whose numbers are any bytes.
#include <algorithm>
#include <string>

#include "fuzz/target.hpp"
#include "gemma/generate/adapter.hpp"
#include "temp_folder.hpp"
#include "test_data.hpp"

void fuzz(gemma::Bytes bytes) {
  static const gemma::Model model = gemma::load(data_path("golden/gemma1_mqa/model-q8_0.gguf"));
  static const TempFolder folder;
  constexpr std::size_t kNumbers = 40'000;
  const auto* middle = std::find(bytes.begin(), bytes.end(), std::uint8_t{0});
  folder.write("adapter_config.json", std::string(bytes.begin(), middle));
  folder.write("adapter_model.safetensors",
               std::string(middle == bytes.end() ? middle : middle + 1, bytes.end()) + std::string(kNumbers, '\1'));
  use(gemma::try_load_adapter(folder.path(), model), model);
}
