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

inline ChatFormat chat_format_of(Family family) {
  if (family == Family::gemma4) return ChatFormat::gemma4;
  return family < Family::gemma3 ? ChatFormat::gemma1 : ChatFormat::gemma3;
}

/// Why the file's own chat template is not followed; empty if it is the family's, or there is none.
inline std::string remark_on_template(const gguf::File& file, const Config& config) {
  const gguf::Value* value = file.find("tokenizer.chat_template");
  if (value == nullptr) return {};
  const Result<std::string_view> jinja = value->as_string();
  if (jinja.ok() && is_known_template(*jinja, chat_format_of(config.family))) return {};
  return file.name() + ": its chat template is not one this version knows; turns are written as " +
         family_name(config.family) + " was trained on them";
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
  std::string remark = detail::remark_on_template(file, config);
  if (!remark.empty() && options.log) options.log(LogLevel::warning, remark);
  const ChatFormat chat_format = detail::chat_format_of(config.family);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  Model model(std::make_shared<const Model::Data>(
      Model::Data{path, std::move(file), std::move(config), std::move(weights),
                  std::move(tokenizer), std::move(stop_ids), chat_format, std::move(remark),
                  took.count()}));
  return model;
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_GENERATE_IMPL_MODEL_INL_HPP_
