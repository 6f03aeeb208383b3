// Bodies of adapter.hpp.
#ifndef GEMMA_GENERATE_IMPL_ADAPTER_INL_HPP_
#define GEMMA_GENERATE_IMPL_ADAPTER_INL_HPP_

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iterator>
#include <string_view>

#include "gemma/base/bytes.hpp"
#include "gemma/base/file.hpp"
#include "gemma/base/float16.hpp"
#include "gemma/base/hash.hpp"
#include "gemma/formats/file_kind.hpp"
#include "gemma/generate/adapter.hpp"
#include "gemma/generate/impl/adapter_file-inl.hpp"
#include "gemma/quant/registry.hpp"
#if defined(GEMMA_HUGGINGFACE)
#include "gemma/generate/impl/adapter_peft-inl.hpp"
#endif

GEMMA_NAMESPACE_BEGIN
namespace detail {

struct AdaptableMatrix {
  std::string_view name;  ///< after "blk.N."
  WeightMatrix LayerWeights::*matrix;
};

inline constexpr AdaptableMatrix kAdaptable[] = {
    {"attn_q.weight", &LayerWeights::q},
    {"attn_k.weight", &LayerWeights::k},
    {"attn_v.weight", &LayerWeights::v},
    {"attn_output.weight", &LayerWeights::attention_out},
    {"ffn_gate.weight", &LayerWeights::gate},
    {"ffn_up.weight", &LayerWeights::up},
    {"ffn_down.weight", &LayerWeights::down},
};

/// One matrix of any model: of a layer, or the head.
struct MatrixPlace {
  std::size_t layer = 0;
  WeightMatrix LayerWeights::*matrix = nullptr;  ///< null: the head

  const WeightMatrix* in(const Weights& weights) const {
    if (matrix == nullptr) return &weights.head;
    return layer < weights.layers.size() ? &(weights.layers[layer].*matrix) : nullptr;
  }
};

/// Where a matrix of that GGUF name is; none: it is of another kind.
inline std::optional<MatrixPlace> place_of(std::string_view name) {
  if (name == "output.weight") return MatrixPlace();
  constexpr std::string_view kBlock = "blk.";
  const std::size_t dot = name.find('.', kBlock.size());
  if (name.substr(0, kBlock.size()) != kBlock || dot == std::string_view::npos) return std::nullopt;
  const std::string number(name.substr(kBlock.size(), dot - kBlock.size()));
  if (number.empty() || number.size() > 6 || number.find_first_not_of("0123456789") != std::string::npos) {
    return std::nullopt;
  }
  const auto found = std::find_if(std::begin(kAdaptable), std::end(kAdaptable),
                                  [&](const AdaptableMatrix& m) { return m.name == name.substr(dot + 1); });
  if (found == std::end(kAdaptable)) return std::nullopt;
  return MatrixPlace{static_cast<std::size_t>(std::atoi(number.c_str())), found->matrix};
}

/// The folder of a PEFT adapter; empty if it can be none.
inline std::string peft_folder(const std::string& path) {
  if (path_kind(path) == PathKind::folder) return path;
  const std::size_t slash = path.find_last_of("/\\");
  return slash == std::string::npos ? "." : path.substr(0, (std::max)(slash, std::size_t{1}));
}

inline Result<AdapterFile> read_peft_adapter(const std::string& path) {
  const std::string folder = peft_folder(path);
  const auto holds = [&](const char* name) { return path_kind(folder + "/" + name) == PathKind::file; };
  if (!holds("adapter_config.json") && !holds("adapter_model.safetensors")) {
    if (holds("config.json")) return is_a_model(path, "a Hugging Face folder");
    return Error(ErrorCode::io, path + ": neither adapter_config.json nor adapter_model.safetensors is in this "
                                       "folder, as is where PEFT has saved an adapter");
  }
  if (!holds("adapter_model.safetensors")) {
    return Error(ErrorCode::io, path + ": adapter_model.safetensors is missing beside adapter_config.json" +
                                    (holds("adapter_model.bin") ? "; adapter_model.bin, which runs code when it "
                                                                  "is read, this version does not read"
                                                                : ""));
  }
#if defined(GEMMA_HUGGINGFACE)
  return PeftAdapter::read(path, folder);
#else
  return Error(ErrorCode::unsupported,
               path + ": is a PEFT adapter; to load one, this program must be compiled with "
                      "-DGEMMA_HUGGINGFACE (and nlohmann/json)");
#endif
}

inline Error no_adapter(Bytes file, const std::string& name) {
  return Error(ErrorCode::format, name + ": is not an adapter, " + describe_start(file) +
                                      "; accepted are LoRA adapters as GGUF files, MediaPipe's LoRA files, and "
                                      "PEFT's folders");
}

/// Bytes that the caller keeps alive.
inline Result<AdapterFile> read_adapter_bytes(Bytes bytes, const std::string& name) {
  switch (file_kind(bytes)) {
    case FileKind::gguf: {
      GEMMA_TRY_ASSIGN(gguf::File gguf, gguf::File::from_bytes(bytes, name));
      return read_gguf_adapter(std::move(gguf));
    }
    case FileKind::tflite: {
      GEMMA_TRY_ASSIGN(tfl::File tfl, tfl::File::from_bytes(bytes, name));
      return MediapipeAdapter::read(std::move(tfl));
    }
    default: return no_adapter(bytes, name);
  }
}

inline Result<AdapterFile> read_adapter(const std::string& path) {
  if (path_kind(path) == PathKind::folder) return read_peft_adapter(path);
  GEMMA_TRY_ASSIGN(MappedFile mapped, MappedFile::open(path));
  if (file_kind(mapped.bytes()) == FileKind::safetensors) return read_peft_adapter(path);
  const auto owner = std::make_shared<const MappedFile>(std::move(mapped));
  GEMMA_TRY_ASSIGN(AdapterFile file, read_adapter_bytes(owner->bytes(), path));
  file.storage.push_back(owner);
  return file;
}

/// What the file says; its factors belong together.
inline Result<AdapterInfo> describe(const AdapterFile& file) {
  GEMMA_TRY(file.check());
  AdapterInfo info;
  info.path = file.path;
  info.format = file.format;
  info.base = file.base;
  info.alpha = file.alpha;
  for (const auto& [name, f] : file.factors) {
    const std::optional<MatrixPlace> place = place_of(name);
    if (!place) {
      return file.tensor_error(f.a.name, "would change the matrix '" + gguf::printable(name) +
                                             "', which this version does not adapt: those of queries, keys, "
                                             "values and output of the attention, gate, up and down of the "
                                             "feed-forward, and the head it does",
                               ErrorCode::unsupported);
    }
    AdaptedMatrix m;
    m.name = name;
    m.rows = static_cast<std::size_t>(f.b.rows());
    m.cols = static_cast<std::size_t>(f.a.row_length());
    m.rank = static_cast<std::size_t>(f.a.rows());
    m.scale = f.scale;
    info.rank = (std::max)(info.rank, m.rank);
    info.matrices.push_back(std::move(m));
  }
  // As a text passes through them.
  const auto order = [](const AdaptedMatrix& m) {
    const MatrixPlace place = *place_of(m.name);
    const auto kind = std::find_if(std::begin(kAdaptable), std::end(kAdaptable),
                                   [&](const AdaptableMatrix& a) { return a.matrix == place.matrix; });
    return std::pair(place.matrix == nullptr ? static_cast<std::size_t>(-1) : place.layer,
                     kind - std::begin(kAdaptable));
  };
  std::sort(info.matrices.begin(), info.matrices.end(),
            [&](const AdaptedMatrix& a, const AdaptedMatrix& b) { return order(a) < order(b); });
  return info;
}

/// Compares a file with a model, and takes its numbers.
class AdapterLoader {
 public:
  static Result<Adapter> load(const AdapterFile& file, const Model& model) {
    AdapterLoader loader(file, model);
    if (file.family && *file.family != model.config().family) {
      return Error(ErrorCode::invalid_argument,
                   file.path + ": was made for " + family_name(*file.family) + ", but " + model.path() + " is " +
                       family_name(model.config().family));
    }
    GEMMA_TRY_ASSIGN(loader.data_.info, describe(file));
    for (const AdaptedMatrix& m : loader.data_.info.matrices) GEMMA_TRY(loader.add(m));
    return Adapter(std::make_shared<const Adapter::Data>(std::move(loader.data_)));
  }

 private:
  AdapterLoader(const AdapterFile& file, const Model& model) : file_(file), model_(model) {}

  Status add(const AdaptedMatrix& m) {
    const AdapterFactors& f = file_.factors.at(m.name);
    const MatrixPlace place = *place_of(m.name);
    const WeightMatrix* matrix = place.in(model_.weights());
    const std::size_t layers = model_.config().layers.size();
    if (matrix == nullptr) {
      return wrong(f.a.name, "is for layer " + std::to_string(place.layer) + ", but " + model_.path() + " has " +
                                 std::to_string(layers) + " layers");
    }
    if (!*matrix) {
      // Layers with the keys and values of another have none of their own; what is trained of them there
      // has no effect.
      const bool shared = place.matrix != nullptr && model_.config().layers[place.layer].kv_layer != place.layer;
      if (shared && (place.matrix == &LayerWeights::k || place.matrix == &LayerWeights::v)) return {};
      return wrong(f.a.name, "is for '" + m.name + "', which " + model_.path() + " does not have");
    }
    if (m.cols != matrix->cols) {
      return wrong(f.a.name, "takes " + std::to_string(m.cols) + " inputs, but '" + m.name + "' of " +
                                 model_.path() + " has " + std::to_string(matrix->cols));
    }
    if (m.rows != matrix->rows) {
      return wrong(f.b.name, "gives " + std::to_string(m.rows) + " outputs, but '" + m.name + "' of " +
                                 model_.path() + " has " + std::to_string(matrix->rows));
    }
    std::vector<float> a(m.rank * m.cols);
    GEMMA_TRY(decode(f.a, [&](std::size_t r, std::size_t c) -> float& { return a[r * m.cols + c]; }));
    constexpr std::size_t kRows = simd::kLowRankRows;
    std::vector<float> b(simd::low_rank_floats(m.rank, m.rows));
    GEMMA_TRY(decode(f.b, [&](std::size_t r, std::size_t c) -> float& {
      return b[(r / kRows * m.rank + c) * kRows + r % kRows];
    }));
    LowRank low_rank;
    low_rank.a.data = reinterpret_cast<const std::uint8_t*>(keep(std::move(a)));
    low_rank.a.rows = m.rank;
    low_rank.a.cols = m.cols;
    low_rank.a.row_bytes = m.cols * sizeof(float);
    low_rank.b = keep(std::move(b));
    low_rank.outputs = m.rows;
    low_rank.scale = m.scale;
    data_.parts.push_back({place.layer, place.matrix, low_rank});
    return {};
  }

  /// All numbers of a factor as floats, each to place(row, column).
  template <class Place>
  Status decode(const TensorView& tensor, const Place& place) const {
    const WeightMatrix m = matrix_of(tensor);
    std::vector<float> row(m.cols);
    for (std::size_t r = 0; r < m.rows; ++r) {
      quant::decode_row(m, r, row.data());
      for (std::size_t c = 0; c < m.cols; ++c) {
        if (!std::isfinite(row[c])) return wrong(tensor.name, "holds a value that is not a number");
        place(r, c) = row[c];
      }
    }
    return {};
  }

  const float* keep(std::vector<float> numbers) {
    data_.bytes += numbers.size() * sizeof(float);
    data_.numbers.push_back(std::move(numbers));
    return data_.numbers.back().data();
  }

  Error wrong(const std::string& tensor, const std::string& what) const {
    return file_.tensor_error(tensor, what + "; was the adapter made for another model?",
                              ErrorCode::invalid_argument);
  }

  const AdapterFile& file_;
  const Model& model_;
  Adapter::Data data_;
};

}  // namespace detail

GEMMA_INLINE Status Adapter::add_to(const Weights& weights, float scale, LowRankTable& table) const {
  if (!std::isfinite(scale)) {
    return Error(ErrorCode::invalid_argument, path() + ": the scale of an adapter must be a number");
  }
  for (const Part& part : data_->parts) {
    const WeightMatrix* matrix = detail::MatrixPlace{part.layer, part.matrix}.in(weights);
    LowRank low_rank = part.low_rank;
    if (matrix == nullptr || matrix->rows != low_rank.outputs || matrix->cols != low_rank.a.cols) {
      return Error(ErrorCode::invalid_argument,
                   path() + ": was loaded for another model than the session's; load it for this one");
    }
    low_rank.scale *= scale;
    if (low_rank.scale != 0.0f) table.add(*matrix, low_rank, data_);
  }
  return {};
}

GEMMA_INLINE std::uint64_t Adapter::fingerprint() const {
  Hash hash;
  for (const AdaptedMatrix& m : matrices()) {
    hash.add(bytes_of(m.name));
    hash.add(std::uint64_t{m.rank});
    hash.add(std::uint64_t{float_bits(m.scale)});
  }
  for (const std::vector<float>& numbers : data_->numbers) {
    hash.add(Bytes(reinterpret_cast<const std::uint8_t*>(numbers.data()),
                   numbers.size() * sizeof(float)));
  }
  return hash.value();
}

GEMMA_INLINE Result<Adapter> try_load_adapter(const std::string& path, const Model& model) {
  GEMMA_TRY_ASSIGN(const detail::AdapterFile file, detail::read_adapter(path));
  return detail::AdapterLoader::load(file, model);
}

GEMMA_INLINE Result<Adapter> try_load_adapter_bytes(Bytes bytes, const std::string& name,
                                                    const Model& model) {
  GEMMA_TRY_ASSIGN(const detail::AdapterFile file, detail::read_adapter_bytes(bytes, name));
  return detail::AdapterLoader::load(file, model);
}

GEMMA_INLINE Result<AdapterInfo> try_read_adapter_info(const std::string& path) {
  GEMMA_TRY_ASSIGN(const detail::AdapterFile file, detail::read_adapter(path));
  return detail::describe(file);
}

GEMMA_INLINE bool is_adapter(const std::string& path) {
  const std::string folder = detail::peft_folder(path);
  const auto holds = [&](const char* name) { return path_kind(folder + "/" + name) == PathKind::file; };
  const bool peft =
      (holds("adapter_config.json") || holds("adapter_model.safetensors")) && !holds("config.json");
  if (path_kind(path) == PathKind::folder) return peft;
  const Result<MappedFile> file = MappedFile::open(path);
  if (!file) return false;
  const Bytes bytes = file->bytes();
  const FileKind kind = file_kind(bytes);
  if (kind == FileKind::gguf) {
    const Result<gguf::File> gguf = gguf::File::from_bytes(bytes, path);
    if (!gguf) return false;
    const Result<std::string_view> type = gguf->get_string_or("general.type", "");
    return type && *type == "adapter";
  }
  if (kind == FileKind::tflite) {
    const Result<tfl::File> tfl = tfl::File::from_bytes(bytes, path);
    return tfl && tfl->has_metadata(mediapipe::detail::kLoraKey);
  }
  return kind == FileKind::safetensors && peft;
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_GENERATE_IMPL_ADAPTER_INL_HPP_
