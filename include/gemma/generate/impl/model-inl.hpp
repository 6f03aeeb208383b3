// Bodies of model.hpp.
#ifndef GEMMA_GENERATE_IMPL_MODEL_INL_HPP_
#define GEMMA_GENERATE_IMPL_MODEL_INL_HPP_

#include <algorithm>
#include <chrono>
#include <utility>

#include "gemma/generate/gguf_binding.hpp"
#include "gemma/generate/model.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

/// The tokens that end an answer: what the file's keys say, and the pieces known to do so.
inline std::vector<TokenId> find_stop_ids(const gguf::File& file, const Tokenizer& tokenizer) {
  std::vector<TokenId> ids;
  const auto add = [&](std::uint64_t id) {
    const TokenId token = static_cast<TokenId>(id);
    if (id >= tokenizer.vocab_size()) return;
    if (std::find(ids.begin(), ids.end(), token) == ids.end()) ids.push_back(token);
  };
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"}) {
    if (file.find(key) == nullptr) continue;
    if (const Result<std::uint64_t> id = file.get_uint(key); id.ok()) add(*id);
  }
  for (const char* piece : {"<eos>", "<end_of_turn>", "<turn|>"}) {
    if (const auto id = tokenizer.find(piece)) add(static_cast<std::uint64_t>(*id));
  }
  return ids;
}

}  // namespace detail

GEMMA_INLINE bool Model::is_stop(TokenId id) const {
  const std::vector<TokenId>& ids = stop_ids();
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

GEMMA_INLINE simd::KvType Model::default_kv_type() const {
  const bool exact = weights().layers[0].q.type == DType::F32;
  return exact ? simd::KvType::f32 : simd::KvType::f16;
}

GEMMA_INLINE Result<Model> try_load(const std::string& path, const LoadOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  GEMMA_TRY_ASSIGN(gguf::File file, gguf::File::open(path));
  GEMMA_TRY_ASSIGN(Config config, gguf::read_config(file));
  GEMMA_TRY_ASSIGN(Weights weights, bind_weights(gguf::FileTensors(file), config));
  GEMMA_TRY_ASSIGN(Vocabulary vocabulary, gguf::read_vocabulary(file));
  if (vocabulary.pieces.size() > config.vocab_size) {
    return Error(ErrorCode::format, path + ": the vocabulary has " +
                                        std::to_string(vocabulary.pieces.size()) +
                                        " pieces, but the embedding only " +
                                        std::to_string(config.vocab_size) + " rows");
  }
  GEMMA_TRY_ASSIGN(Tokenizer tokenizer, Tokenizer::create(std::move(vocabulary)));
  std::vector<TokenId> stop_ids = detail::find_stop_ids(file, tokenizer);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  Model model(std::make_shared<const Model::Data>(
      Model::Data{path, std::move(file), std::move(config), std::move(weights),
                  std::move(tokenizer), std::move(stop_ids), took.count()}));
  (void)options;
  return model;
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_GENERATE_IMPL_MODEL_INL_HPP_
