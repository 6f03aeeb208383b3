// A session copied, and a session in a file: its tokens, and what the CPU's KV cache has of them. All numbers are
// little-endian:
//   "GEMMAKV\0", u32 version, u32 KvType or kNoRows, u64 fingerprint of the model,
//   u64 position (tokens read), u64 tokens, i32 token…;
//   for each layer with keys of its own u64 rows, u64 bytes of a row, then for the last `rows`
//   positions read the keys, then the values;
//   u64 Hash of everything before.
#ifndef GEMMA_GENERATE_IMPL_SESSION_STATE_INL_HPP_
#define GEMMA_GENERATE_IMPL_SESSION_STATE_INL_HPP_

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "gemma/base/bytes.hpp"
#include "gemma/base/file.hpp"
#include "gemma/base/float16.hpp"
#include "gemma/base/hash.hpp"
#include "gemma/base/output_file.hpp"
#include "gemma/generate/session.hpp"
#include "gemma/model/kv_cache.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

inline constexpr char kStateMagic[8] = {'G', 'E', 'M', 'M', 'A', 'K', 'V', '\0'};
inline constexpr std::uint32_t kStateVersion = 1;
inline constexpr std::uint32_t kNoRows = 0xFFFFFFFFu;  ///< the tokens are all there is

/// Tells models apart: by the names, shapes and formats of their tensors, and a sample of each. Adapters
/// make other models.
inline std::uint64_t fingerprint(const Model& model, const std::vector<SessionAdapter>& adapters) {
  Hash hash;
  for (const TensorView& tensor : model.source().tensors()) {
    hash.add(bytes_of(tensor.name));
    hash.add(static_cast<std::uint64_t>(tensor.type));
    for (const std::uint64_t n : tensor.shape) hash.add(n);
    const std::size_t sample = (std::min)(tensor.data.size(), std::size_t{64});
    hash.add(tensor.data.subspan(0, sample));
    hash.add(tensor.data.subspan((tensor.data.size() - sample) / 2, sample));
    if (model.max_resident_bytes() != 0) model.source().advise_dontneed(tensor.data);
  }
  for (const SessionAdapter& a : adapters) {
    if (a.scale == 0.0f) continue;
    hash.add(a.adapter.fingerprint());
    hash.add(std::uint64_t{float_bits(a.scale)});
  }
  return hash.value();
}

/// How many of the last positions read a layer may still look at, also after the last is read again.
inline std::size_t rows_in_use(const LayerConfig& layer, std::size_t position) {
  return layer.window == 0 ? position : (std::min)(position, layer.window);
}

/// Writes and hashes.
class StateWriter {
 public:
  explicit StateWriter(OutputFile& file) : file_(file) {}
  Status bytes(Bytes bytes) {
    hash_.add(bytes);
    return file_.write(bytes);
  }
  template <class T>
  Status number(T value) {
    std::uint8_t raw[sizeof value];
    std::memcpy(raw, &value, sizeof value);
    return bytes(Bytes(raw, sizeof raw));
  }
  /// As the last.
  Status checksum() { return number(hash_.value()); }

 private:
  OutputFile& file_;
  Hash hash_;
};

/// The rows of the KV cache that a later token can see, of each layer.
inline Status write_rows(StateWriter& out, const Config& config, const KvCache& cache,
                         std::size_t position) {
  for (std::size_t i = 0; i < config.layers.size(); ++i) {
    const KvCache::Layer& layer = cache.layer(i);
    if (layer.capacity == 0) continue;
    const std::size_t rows = rows_in_use(config.layers[i], position);
    GEMMA_TRY(out.number(std::uint64_t{rows}));
    GEMMA_TRY(out.number(std::uint64_t{layer.row_bytes}));
    for (const SharedArray<std::uint8_t>* array : {&layer.keys, &layer.values}) {
      for (std::size_t p = position - rows; p < position; ++p) {
        GEMMA_TRY(out.bytes(Bytes(array->data() + layer.offset(p), layer.row_bytes)));
      }
    }
  }
  return {};
}

/// The rows of one layer in a file.
struct StateRows {
  Bytes keys;
  Bytes values;
};

/// What a file holds, as views of it.
struct SessionState {
  std::vector<TokenId> history;
  std::size_t position = 0;
  std::uint32_t kv_type = kNoRows;
  std::vector<StateRows> layers;  ///< by Config::layers; empty without rows
};

inline Status read_rows(ByteReader& in, const Config& config, SessionState& state) {
  for (std::size_t i = 0; i < config.layers.size(); ++i) {
    const LayerConfig& layer = config.layers[i];
    state.layers.emplace_back();
    if (layer.kv_layer != i) continue;
    GEMMA_TRY_ASSIGN(const auto rows, in.read<std::uint64_t>("the rows of a layer"));
    GEMMA_TRY_ASSIGN(const auto row_bytes, in.read<std::uint64_t>("the size of a row"));
    const std::size_t want = rows_in_use(layer, state.position);
    const std::size_t want_bytes = simd::kv_bytes(static_cast<simd::KvType>(state.kv_type),
                                                  layer.kv_heads * layer.head_dim);
    if (rows != want || row_bytes != want_bytes) {
      return in.error("layer " + std::to_string(i) + " has " + std::to_string(rows) +
                      " rows of " + std::to_string(row_bytes) + " bytes; " + std::to_string(want) +
                      " of " + std::to_string(want_bytes) + " were expected");
    }
    GEMMA_TRY_ASSIGN(state.layers.back().keys, in.read_bytes(rows * row_bytes, "keys"));
    GEMMA_TRY_ASSIGN(state.layers.back().values, in.read_bytes(rows * row_bytes, "values"));
  }
  return {};
}

/// Reads and checks a whole file.
inline Result<SessionState> read_state(Bytes file, const std::string& path, const Model& model,
                                       const std::vector<SessionAdapter>& adapters) {
  const auto refuse = [&](const std::string& what) {
    return Error(ErrorCode::format, path + ": " + what);
  };
  if (file.size() < sizeof kStateMagic ||
      std::memcmp(file.data(), kStateMagic, sizeof kStateMagic) != 0) {
    return refuse("is not a saved session; Session::save() writes those");
  }
  ByteReader in(file, path);
  GEMMA_TRY(in.read_bytes(sizeof kStateMagic, "the magic"));
  GEMMA_TRY_ASSIGN(const auto version, in.read<std::uint32_t>("the version"));
  if (version != kStateVersion) {
    return refuse("is a session in version " + std::to_string(version) +
                  " of the format, but this program reads version " +
                  std::to_string(kStateVersion) + "; save it anew");
  }
  SessionState state;
  GEMMA_TRY_ASSIGN(state.kv_type, in.read<std::uint32_t>("the type of keys and values"));
  GEMMA_TRY_ASSIGN(const auto print, in.read<std::uint64_t>("the model's fingerprint"));
  Hash hash;
  hash.add(file.subspan(0, file.size() - sizeof(std::uint64_t)));
  if (hash.value() != load_le<std::uint64_t>(file.end() - sizeof(std::uint64_t))) {
    return refuse("the saved session is damaged: its checksum is not that of its bytes");
  }
  if (print != fingerprint(model, adapters)) {
    return refuse("is a session of another model, or with other adapters, or of another file of it than " +
                  model.path());
  }
  GEMMA_TRY_ASSIGN(const auto position, in.read<std::uint64_t>("the position"));
  GEMMA_TRY_ASSIGN(const auto tokens, in.read<std::uint64_t>("the number of tokens"));
  if (position > tokens || tokens > in.remaining() / sizeof(TokenId)) {
    return in.error(std::to_string(position) + " of " + std::to_string(tokens) +
                    " tokens are read, which cannot be");
  }
  state.position = static_cast<std::size_t>(position);
  for (std::uint64_t i = 0; i < tokens; ++i) {
    GEMMA_TRY_ASSIGN(const TokenId id, in.read<TokenId>("a token"));
    if (id < 0 || static_cast<std::size_t>(id) >= model.config().vocab_size) {
      return in.error("token " + std::to_string(id) + " is none of the " +
                      std::to_string(model.config().vocab_size) + " of the vocabulary");
    }
    state.history.push_back(id);
  }
  if (state.kv_type != kNoRows) {
    if (state.kv_type > static_cast<std::uint32_t>(simd::KvType::q8_0)) {
      return refuse("keys and values of unknown type " + std::to_string(state.kv_type));
    }
    GEMMA_TRY(KvCache::check_type(model.config(), static_cast<simd::KvType>(state.kv_type)));
    GEMMA_TRY(read_rows(in, model.config(), state));
  }
  if (in.remaining() == sizeof(std::uint64_t)) return state;
  return in.error(std::to_string(in.remaining()) + " bytes are left, 8 were expected");
}

/// Puts rows where create_cpu_runner()'s ring buffers want them.
inline void fill(KvCache& cache, const SessionState& state) {
  for (std::size_t i = 0; i < state.layers.size(); ++i) {
    KvCache::Layer& layer = cache.layer(i);
    if (layer.capacity == 0) continue;
    const StateRows& rows = state.layers[i];
    const std::size_t count = rows.keys.size() / layer.row_bytes;
    for (std::size_t r = 0; r < count; ++r) {
      const std::size_t to = layer.offset(state.position - count + r);
      const std::size_t from = r * layer.row_bytes;
      std::memcpy(layer.keys.own_data() + to, rows.keys.data() + from, layer.row_bytes);
      std::memcpy(layer.values.own_data() + to, rows.values.data() + from, layer.row_bytes);
    }
  }
}

}  // namespace detail

GEMMA_INLINE Result<Session> Session::try_clone() const {
  GEMMA_TRY_ASSIGN(std::unique_ptr<Runner> runner, runner_->clone());
  if (runner != nullptr) {
    Session copy(model_, options_, std::move(runner), backend_reason_);
    copy.history_ = history_;
    copy.unread_ = unread_;
#if defined(GEMMA_OPENCL)
    copy.devices_ = devices_;
#endif
    return copy;
  }
  GEMMA_TRY_ASSIGN(Session copy, create(model_, options_));
  GEMMA_TRY(copy.read_again(history_, position(), {}));
  return copy;
}

/// Of an empty session: reads the first `position` tokens of a history; the others stay unread.
GEMMA_INLINE Status Session::read_again(const std::vector<TokenId>& history, std::size_t position,
                                        const ProgressFn& progress) {
  const Span<const TokenId> all(history);
  GEMMA_TRY(try_evaluate(all.subspan(0, position), Outputs{}, progress));
  unread_.assign(all.begin() + position, all.end());
  history_ = history;
  return {};
}

GEMMA_INLINE Status Session::try_save(const std::string& path) const {
  KvCache* cache = runner_->kv_cache();
  GEMMA_TRY_ASSIGN(OutputFile file, OutputFile::create(path));
  detail::StateWriter out(file);
  GEMMA_TRY(out.bytes(Bytes(reinterpret_cast<const std::uint8_t*>(detail::kStateMagic),
                            sizeof detail::kStateMagic)));
  GEMMA_TRY(out.number(detail::kStateVersion));
  GEMMA_TRY(out.number(cache != nullptr ? static_cast<std::uint32_t>(cache->type())
                                        : detail::kNoRows));
  GEMMA_TRY(out.number(detail::fingerprint(model_, adapters())));
  GEMMA_TRY(out.number(std::uint64_t{position()}));
  GEMMA_TRY(out.number(std::uint64_t{history_.size()}));
  for (const TokenId id : history_) GEMMA_TRY(out.number(id));
  if (cache != nullptr) GEMMA_TRY(detail::write_rows(out, model_.config(), *cache, position()));
  GEMMA_TRY(out.checksum());
  return file.commit();
}

GEMMA_INLINE Status Session::try_restore(const std::string& path, const ProgressFn& progress) {
  GEMMA_TRY_ASSIGN(const MappedFile file, MappedFile::open(path));
  GEMMA_TRY_ASSIGN(const detail::SessionState state,
                   detail::read_state(file.bytes(), path, model_, adapters()));
  if (state.position > context()) {
    return Error(ErrorCode::context_full,
                 path + ": " + std::to_string(state.position) +
                     " tokens were read, but this session's context has " +
                     std::to_string(context()) + " positions; choose a larger one");
  }
  reset();
  KvCache* cache = runner_->kv_cache();
  if (cache == nullptr || state.kv_type != static_cast<std::uint32_t>(cache->type())) {
    if (options_.log) {
      options_.log(LogLevel::info, path + ": its keys and values are none of this session's; the " +
                                       std::to_string(state.position) + " tokens are read again");
    }
    return read_again(state.history, state.position, progress);
  }
  GEMMA_TRY(cache->make_own(0));
  detail::fill(*cache, state);
  runner_->resume(state.position);
  history_ = state.history;
  unread_.assign(history_.begin() + static_cast<std::ptrdiff_t>(state.position), history_.end());
  return {};
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_GENERATE_IMPL_SESSION_STATE_INL_HPP_
