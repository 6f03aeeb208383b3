// Google's vocabularies, where this machine has them: they are not ours to ship. Gemma 3's is in
// the real model; those of Gemma 1 and 4 in the folder GEMMA_TEST_VOCABS names, or beside the
// sources in ../shared/tokenizer.
#ifndef GEMMA_TESTS_VOCABULARIES_HPP_
#define GEMMA_TESTS_VOCABULARIES_HPP_

#include <doctest/doctest.h>

#include <cstdlib>
#include <memory>
#include <optional>
#include <string>

#include "gemma/formats/gguf.hpp"
#include "gemma/generate/gguf_binding.hpp"
#include "gemma/text/tokenizer.hpp"
#include "test_data.hpp"

/// A tokenizer with the file its pieces lie in.
struct RealTokenizer {
  gemma::gguf::File file;
  gemma::Tokenizer tokenizer;

  static RealTokenizer open(const std::string& path) {
    gemma::gguf::File file = gemma::gguf::File::open(path).value();
    gemma::Tokenizer tokenizer =
        gemma::Tokenizer::create(gemma::gguf::read_vocabulary(file).value()).value();
    return {std::move(file), std::move(tokenizer)};
  }
};

/// The tokenizer of "gemma1", "gemma3" or "gemma4"; none, with a word, if it is not here.
inline std::optional<RealTokenizer> real_tokenizer(const std::string& family) {
  const char* folder = std::getenv("GEMMA_TEST_VOCABS");
  const std::string vocabs =
      folder != nullptr ? folder : std::string(GEMMA_SOURCE_DIR) + "/../shared/tokenizer";
  std::string path = vocabs + "/vocab_gemma1.gguf";
  if (family == "gemma3") path = real_model_path();
  if (family == "gemma4") {
    const std::string source = vocabs + "/tokenizer_gemma4.json.gz";
    path = "gemma4-vocab.gguf";
    if (file_exists(source) && !file_exists(path)) {
      const std::string part = path + ".part" + std::to_string(std::rand());
      const std::string command = "python3 '" + data_path("make_gemma4_vocab.py") + "' '" + source +
                                  "' '" + part + "' && mv '" + part + "' '" + path + "'";
      if (std::system(command.c_str()) != 0) path.clear();
    }
  }
  if (!path.empty() && file_exists(path)) return RealTokenizer::open(path);
  MESSAGE("skipped: the vocabulary of ", family, " is not on this machine");
  return std::nullopt;
}

#endif  // GEMMA_TESTS_VOCABULARIES_HPP_
