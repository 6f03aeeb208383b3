// Bodies of model.hpp.
#ifndef GEMMA_GENERATE_IMPL_MODEL_INL_HPP_
#define GEMMA_GENERATE_IMPL_MODEL_INL_HPP_

#include <algorithm>
#include <chrono>
#include <utility>

#include "gemma/formats/file_kind.hpp"
#include "gemma/generate/bind_weights.hpp"
#include "gemma/generate/gguf_binding.hpp"
#include "gemma/generate/mediapipe_bin.hpp"
#include "gemma/generate/mediapipe_bundle.hpp"
#include "gemma/generate/model.hpp"
#include "gemma/text/chat_template.hpp"
#if defined(GEMMA_HUGGINGFACE)
#include "gemma/generate/huggingface.hpp"
#endif

GEMMA_NAMESPACE_BEGIN
namespace detail {

/// The tokens that end an answer: what the file says, and the pieces known to do so.
inline std::vector<TokenId> find_stop_ids(const ModelSource& source, const Tokenizer& tokenizer) {
  std::vector<TokenId> ids;
  const auto add = [&](TokenId id) {
    if (id < 0 || static_cast<std::size_t>(id) >= tokenizer.vocab_size()) return;
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  };
  for (const TokenId id : source.stop_ids()) add(id);
  for (const char* piece : {"<eos>", "<end_of_turn>", "<turn|>"}) {
    if (const auto id = tokenizer.find(piece)) add(*id);
  }
  return ids;
}

inline ChatFormat chat_format_of(Family family) {
  if (family == Family::gemma4) return ChatFormat::gemma4;
  return family < Family::gemma3 ? ChatFormat::gemma1 : ChatFormat::gemma3;
}

/// Why the file's own chat template is not followed; empty if it is the family's, or there is none.
inline std::string remark_on_template(const ModelSource& source, const Config& config) {
  const std::string jinja = source.chat_template();
  if (jinja.empty()) return {};
  const std::string reason = unknown_template_reason(jinja, chat_format_of(config.family));
  if (reason.empty()) return {};
  return source.name() + ": its chat template is not one this version knows (" + reason +
         "); turns are written as " + family_name(config.family) + " was trained on them";
}

/// For a file of a kind that this version does not know.
inline Error cannot_read(Bytes file, const std::string& name) {
  return Error(ErrorCode::format,
               name + ": is not a model this version reads, " + describe_start(file) +
                   "; accepted are GGUF files, MediaPipe's weight files (.bin, -web.task) and .task "
                   "bundles, LiteRT-LM's .litertlm files, and Hugging Face folders");
}

/// Refuses weights that alone are more than the user wants to spend.
inline Status check_weights(const std::string& name, std::uint64_t bytes, std::uint64_t limit) {
  if (limit == 0 || bytes <= limit) return {};
  return Error(ErrorCode::out_of_memory,
               name + ": the weights alone take " + megabytes(bytes) + ", but the limit is " +
                   megabytes(limit) +
                   "; choose a smaller model, or max_resident_bytes, with which weights stream in "
                   "and out of memory");
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

GEMMA_INLINE Result<std::shared_ptr<const ModelSource>> open_model(const std::string& path,
                                                                   FileAccess access,
                                                                   const ProgressFn& progress) {
  using Source = std::shared_ptr<const ModelSource>;
  std::string folder = path;
  if (path_kind(path) != PathKind::folder) {
    GEMMA_TRY_ASSIGN(const MappedFile content, MappedFile::open(path));
    const FileKind kind = file_kind(content.bytes());
    if (kind == FileKind::gguf) {
      GEMMA_TRY_ASSIGN(gguf::Source source, gguf::Source::open(path, access));
      return Source(std::make_shared<const gguf::Source>(std::move(source)));
    }
    if (kind == FileKind::tflite) {
      GEMMA_TRY_ASSIGN(mediapipe::Source source, mediapipe::Source::open(path, access, progress));
      return Source(std::make_shared<const mediapipe::Source>(std::move(source)));
    }
    if (kind == FileKind::task || kind == FileKind::litertlm) {
      return mediapipe::open_bundle(path, access, progress);
    }
    if (kind != FileKind::safetensors) return detail::cannot_read(content.bytes(), path);
    const std::size_t slash = path.find_last_of("/\\");
    folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    if (folder.size() > 1) folder.pop_back();
  }
#if defined(GEMMA_HUGGINGFACE)
  GEMMA_TRY_ASSIGN(huggingface::Source source, huggingface::Source::open(folder, access));
  return Source(std::make_shared<const huggingface::Source>(std::move(source)));
#else
  return Error(ErrorCode::unsupported,
               folder + ": is a Hugging Face folder; to load one, this program must be compiled with "
                        "-DGEMMA_HUGGINGFACE (and nlohmann/json)");
#endif
}

GEMMA_INLINE Result<Model::Bound> Model::bind(std::shared_ptr<const ModelSource> source,
                                              bool let_go) {
  GEMMA_TRY_ASSIGN(Config config, source->read_config());
  GEMMA_TRY_ASSIGN(Weights weights, bind_weights(*source, config, let_go));
  return Bound{std::move(source), std::move(config), std::move(weights)};
}

GEMMA_INLINE Result<Model> Model::create(const std::string& path, Bound bound,
                                         const LoadOptions& options, Clock::time_point start) {
  GEMMA_TRY_ASSIGN(Vocabulary vocabulary, bound.source->read_vocabulary());
  if (vocabulary.pieces.size() > bound.config.vocab_size) {
    return Error(ErrorCode::format, path + ": the vocabulary has " +
                                        std::to_string(vocabulary.pieces.size()) +
                                        " pieces, but the embedding only " +
                                        std::to_string(bound.config.vocab_size) + " rows");
  }
  Result<Tokenizer> tokenizer = Tokenizer::create(std::move(vocabulary));
  if (!tokenizer.ok()) {
    return Error(tokenizer.error().code(), path + ": " + tokenizer.error().message());
  }
  std::vector<TokenId> stop_ids = detail::find_stop_ids(*bound.source, *tokenizer);
  std::string remark = detail::remark_on_template(*bound.source, bound.config);
  if (!remark.empty() && options.log) options.log(LogLevel::warning, remark);
  const ChatFormat chat_format = detail::chat_format_of(bound.config.family);
  const std::chrono::duration<double> took = Clock::now() - start;
  return Model(std::make_shared<const Data>(Data{std::move(bound), path, std::move(*tokenizer),
                                                 std::move(stop_ids), chat_format,
                                                 std::move(remark), took.count(),
                                                 options.max_resident_bytes,
                                                 options.memory_limit}));
}

GEMMA_INLINE Result<Model> try_load(const std::string& path, const LoadOptions& options) {
  const auto start = Model::Clock::now();
  if (options.max_resident_bytes != 0 && options.access == FileAccess::memory) {
    return Error(ErrorCode::invalid_argument,
                 path + ": FileAccess::memory wants all weights in memory, max_resident_bytes only some");
  }
  if (options.memory_limit != 0 && path_kind(path) == PathKind::file) {
    // Some files are laid out anew in memory while they are opened.
    GEMMA_TRY_ASSIGN(const MappedFile file, MappedFile::open(path));
    GEMMA_TRY(detail::check_weights(path, file.bytes().size(), options.memory_limit));
  }
  const bool mapped = options.access == FileAccess::map || options.max_resident_bytes != 0;
  GEMMA_TRY_ASSIGN(std::shared_ptr<const ModelSource> source,
                   open_model(path, mapped ? FileAccess::map : options.access, options.progress));
  GEMMA_TRY(detail::check_weights(path, source->file_bytes(), options.memory_limit));
  if (options.max_resident_bytes != 0 && source->holds_copies()) {
    return Error(ErrorCode::unsupported,
                 path + ": max_resident_bytes needs weights that are used where they lie in the file, but "
                        "this one's had to be laid out anew in memory; `gemma convert` makes a GGUF "
                        "file of it");
  }
  GEMMA_TRY_ASSIGN(Model::Bound bound,
                   Model::bind(std::move(source), options.max_resident_bytes != 0));
  return Model::create(path, std::move(bound), options, start);
}

GEMMA_INLINE Result<Model> try_load_bytes(Bytes file, const std::string& name,
                                          const LoadOptions& options,
                                          std::shared_ptr<const void> owner) {
  const auto start = Model::Clock::now();
  if (options.max_resident_bytes != 0) {
    return Error(ErrorCode::invalid_argument,
                 name + ": max_resident_bytes is for files, which can be read again; these bytes are "
                        "in memory");
  }
  GEMMA_TRY(detail::check_weights(name, file.size(), options.memory_limit));
  std::shared_ptr<const ModelSource> opened;
  const FileKind kind = file_kind(file);
  if (kind == FileKind::gguf) {
    GEMMA_TRY_ASSIGN(gguf::File gguf, gguf::File::from_bytes(file, name, std::move(owner)));
    GEMMA_TRY_ASSIGN(gguf::Source source, gguf::Source::from_file(std::move(gguf)));
    opened = std::make_shared<const gguf::Source>(std::move(source));
  } else if (kind == FileKind::tflite) {
    GEMMA_TRY_ASSIGN(tfl::File container, tfl::File::from_bytes(file, name, std::move(owner)));
    GEMMA_TRY_ASSIGN(mediapipe::Source source,
                     mediapipe::Source::from_file(std::move(container), options.progress));
    opened = std::make_shared<const mediapipe::Source>(std::move(source));
  } else if (kind == FileKind::task || kind == FileKind::litertlm) {
    GEMMA_TRY_ASSIGN(opened, mediapipe::open_bundle(file, name, std::move(owner), options.progress));
  } else {
    return detail::cannot_read(file, name);
  }
  GEMMA_TRY_ASSIGN(Model::Bound bound, Model::bind(std::move(opened)));
  return Model::create(name, std::move(bound), options, start);
}

GEMMA_INLINE Result<Model> try_load_bytes(std::vector<std::uint8_t>&& file, const std::string& name,
                                          const LoadOptions& options) {
  const auto owner = std::make_shared<const std::vector<std::uint8_t>>(std::move(file));
  return try_load_bytes(Bytes(*owner), name, options, owner);
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_GENERATE_IMPL_MODEL_INL_HPP_
