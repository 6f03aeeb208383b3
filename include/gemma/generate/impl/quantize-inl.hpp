// Bodies of quantize.hpp.
#ifndef GEMMA_GENERATE_IMPL_QUANTIZE_INL_HPP_
#define GEMMA_GENERATE_IMPL_QUANTIZE_INL_HPP_

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "gemma/base/threads.hpp"
#include "gemma/formats/gguf_writer.hpp"
#include "gemma/generate/gguf_export.hpp"
#include "gemma/generate/quantize.hpp"
#include "gemma/model/family.hpp"
#include "gemma/quant/encode.hpp"
#include "gemma/quant/encode_row_scaled.hpp"
#include "gemma/quant/registry.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

using Boost = QuantizeScheme::Boost;

inline constexpr QuantizeScheme kKeepScheme = {
    "keep", "as the model is", DType::F32, DType::F32, DType::F32, Boost::none, 0};

inline bool is_keep(const QuantizeScheme& scheme) {
  return std::string_view(scheme.name) == kKeepScheme.name;
}

inline constexpr QuantizeScheme kQuantizeSchemes[] = {
    {"f32", "32-bit floats", DType::F32, DType::F32, DType::F32, Boost::none, 0},
    {"f16", "16-bit floats", DType::F16, DType::F16, DType::F16, Boost::none, 1},
    {"bf16", "16-bit floats with the range of 32-bit ones", DType::BF16, DType::BF16, DType::BF16,
     Boost::none, 32},
    {"q8_0", "8.5 bits a weight: hardly to be told from the original", DType::Q8_0, DType::Q8_0,
     DType::Q8_0, Boost::none, 7},
    {"q6_k", "6.6 bits", DType::Q6_K, DType::Q6_K, DType::Q6_K, Boost::none, 18},
    {"q5_k_m", "5.5 bits, 6.6 where it matters", DType::Q5_K, DType::Q6_K, DType::Q6_K, Boost::many,
     17},
    {"q5_k", "5.5 bits", DType::Q5_K, DType::Q6_K, DType::Q5_K, Boost::none, 16},
    {"q5_0", "5.5 bits in blocks of 32", DType::Q5_0, DType::Q6_K, DType::Q5_0, Boost::none, 8},
    {"q4_k_m", "4.5 bits, 6.6 where it matters: a good choice", DType::Q4_K, DType::Q6_K,
     DType::Q6_K, Boost::many, 15},
    {"q4_k", "4.5 bits, 5.5 in the first layers", DType::Q4_K, DType::Q6_K, DType::Q5_K,
     Boost::first, 14},
    {"q4_0", "4.5 bits in blocks of 32", DType::Q4_0, DType::Q6_K, DType::Q4_0, Boost::none, 2},
};

/// `type`, or the next one that rows of n numbers can be cut into blocks of.
inline DType format_for_rows(DType type, std::uint64_t n) {
  if (n % quant::block_elements(type) == 0) return type;
  if (n % 32 != 0) return DType::F16;
  if (type == DType::Q6_K) return DType::Q8_0;
  return type == DType::Q5_K ? DType::Q5_1 : DType::Q5_0;
}

/// Picks the format of each tensor of a model.
class FormatChooser {
 public:
  FormatChooser(const QuantizeScheme& scheme, const Config& config, bool pure, bool tied)
      : scheme_(scheme),
        layers_(config.layers.size()),
        pure_(pure),
        tied_(tied),
        keep_(is_keep(scheme)) {}

  /// `from` is the tensor, or the first of those that become one.
  DType operator()(const std::string& name, const std::vector<std::uint64_t>& shape,
                   const TensorView& from) const {
    const auto has = [&](const char* part) { return name.find(part) != std::string::npos; };
    const bool matrix = shape.size() >= 2 && shape[1] > 1 && !has("_norm") && !has(".scale");
    if (!matrix || has("ffn_gate_inp") || has("_coef") || has("altup_router")) return DType::F32;
    if (keep_) return from.row_scale != nullptr ? quant::block_format_of(matrix_of(from)) : from.type;
    return format_for_rows(wish(name, has), shape[0]);
  }

 private:
  template <class Has>
  DType wish(const std::string& name, const Has& has) const {
    const bool sensitive = has("altup_") || has("laurel_") || has("per_layer_model_proj") ||
                           has("dense_");
    if (sensitive && quant::block_elements(scheme_.matrices) > 1) return DType::Q8_0;
    if (pure_) return scheme_.matrices;
    if (name == "output.weight" || (name == "token_embd.weight" && tied_)) return scheme_.embedding;
    const bool values = has("attn_v.weight");
    const bool down = has("ffn_down.weight") || has("ffn_down_exps");
    const bool boost = (values || down) && matters(layer_of(name), values);
    return boost ? scheme_.boosted : scheme_.matrices;
  }

  bool matters(std::size_t layer, bool values) const {
    constexpr std::size_t kFirstValues = 4;
    const std::size_t eighth = layers_ / 8;
    if (scheme_.boost == Boost::none) return false;
    if (scheme_.boost == Boost::first) return layer < (values ? kFirstValues : eighth);
    return layer < eighth || layer >= 7 * layers_ / 8 || (layer - eighth) % 3 == 2;
  }

  /// Of "blk.N.…".
  static std::size_t layer_of(const std::string& name) {
    return static_cast<std::size_t>(std::strtoul(name.c_str() + 4, nullptr, 10));
  }

  const QuantizeScheme& scheme_;
  std::size_t layers_;
  bool pure_;
  bool tied_;
  bool keep_;
};

/// One tensor to write: rows of one or several tensors of the source, one after the other, or
/// numbers of our own.
struct TensorJob {
  gguf::TensorInfo info;
  std::vector<const TensorView*> parts;
  std::size_t zero_rows = 0;    ///< after the last part
  std::vector<float> numbers;  ///< instead of parts
  float factor = 1.0f;
  float offset = 0.0f;

  /// Whether the integers of rows with a scale stay as they are.
  bool keeps_integers() const {
    return parts.size() == 1 && parts[0]->row_scale != nullptr && factor == 1.0f &&
           offset == 0.0f && quant::block_elements(info.type) > 1 &&
           info.type == quant::block_format_of(matrix_of(*parts[0]));
  }

  bool copies() const {
    // Floats are looked at, though they stay as they are.
    return numbers.empty() && factor == 1.0f && offset == 0.0f && parts[0]->type == info.type &&
           quant::block_elements(info.type) > 1;
  }
};

/// The tensors of a model as GGUF has them.
class JobList {
 public:
  JobList(const Model& model, const FormatChooser& choose)
      : model_(model), source_(model.source()), choose_(choose) {}

  std::vector<TensorJob> take() {
    for (const std::string& name : source_.gguf_names()) {
      // Single matrices of Hugging Face folders that GGUF stacks.
      const std::size_t numbered = name.find(".0.weight");
      const bool stacked = name.compare(0, 6, "altup_") == 0 && name.find('.') != name.rfind('.');
      if (stacked && numbered == std::string::npos) continue;
      stacked ? add_stack(name.substr(0, numbered)) : add(name, {source_.find_tensor(name)});
    }
    const Config& config = model_.config();
    if (!config.rope_divisors.empty() && source_.find_tensor("rope_freqs.weight") == nullptr) {
      TensorJob job;
      job.numbers = config.rope_divisors;
      job.info = {"rope_freqs.weight", DType::F32, {job.numbers.size()}};
      jobs_.push_back(std::move(job));
    }
    return std::move(jobs_);
  }

 private:
  void add_stack(const std::string& stem) {
    std::vector<const TensorView*> parts;
    while (const TensorView* part =
               source_.find_tensor(stem + "." + std::to_string(parts.size()) + ".weight")) {
      parts.push_back(part);
    }
    add(stem + ".weight", parts);
  }

  void add(const std::string& name, const std::vector<const TensorView*>& parts) {
    TensorJob job;
    job.parts = parts;
    job.info.name = name;
    job.info.shape = parts[0]->shape;
    if (parts.size() > 1) job.info.shape.push_back(parts.size());
    job.info.type = choose_(name, job.info.shape, *parts[0]);
    // Readers expect a row for every piece, also where only images and sounds have none.
    const std::size_t pieces = model_.config().vocab_size;
    if (name == "per_layer_token_embd.weight" && job.info.shape[1] < pieces) {
      job.zero_rows = pieces - static_cast<std::size_t>(job.info.shape[1]);
      job.info.shape[1] = pieces;
    }
    const bool norm = name.find("_norm") != std::string::npos;
    if (norm) job.offset = source_.norm_offset();
    // The scale of q·k goes into whatever multiplies the queries.
    const bool qk_norm = traits_of(model_.config().family).qk_norm;
    const char* queries = qk_norm ? ".attn_q_norm.weight" : ".attn_q.weight";
    if (source_.gguf_file() == nullptr && name.find(queries) != std::string::npos) {
      job.factor = gguf::query_factor(model_.config());
    }
    jobs_.push_back(std::move(job));
  }

  const Model& model_;
  const ModelSource& source_;
  const FormatChooser& choose_;
  std::vector<TensorJob> jobs_;
};

/// Encodes tensors piece by piece and hands them to a file.
class TensorPipe {
 public:
  TensorPipe(gguf::Writer& writer, const QuantizeOptions& options, std::uint64_t total)
      : writer_(writer), pool_(options.threads), progress_(options.progress), total_(total) {}

  Status run(const TensorJob& job, const std::string& source_name) {
    if (!job.numbers.empty()) {
      return append(Bytes(reinterpret_cast<const std::uint8_t*>(job.numbers.data()),
                          job.numbers.size() * sizeof(float)));
    }
    for (const TensorView* part : job.parts) {
      GEMMA_TRY(job.copies() ? copy(part->data) : encode(job, *part, source_name));
    }
    return job.zero_rows == 0 ? Status() : add_zeros(job);
  }

 private:
  static constexpr std::size_t kPieceNumbers = std::size_t{1} << 22;
  static constexpr std::size_t kPieceBytes = std::size_t{1} << 24;

  Status append(Bytes data) {
    GEMMA_TRY(writer_.append(data));
    done_ += data.size();
    if (!progress_ || progress_({"quantize", done_, total_})) return {};
    return Error(ErrorCode::cancelled, "cancelled; nothing was written");
  }

  Status copy(Bytes data) {
    for (std::size_t at = 0; at < data.size(); at += kPieceBytes) {
      GEMMA_TRY(append(data.subspan(at, (std::min)(kPieceBytes, data.size() - at))));
    }
    return {};
  }

  Status add_zeros(const TensorJob& job) {
    const auto cols = static_cast<std::size_t>(job.info.shape[0]);
    const std::size_t bytes = quant::block_bytes(job.info.type) * cols /
                              quant::block_elements(job.info.type);
    std::vector<std::uint8_t> encoded(job.zero_rows * bytes);
    const std::vector<float> zeros(cols);
    for (std::size_t row = 0; row < job.zero_rows; ++row) {
      quant::encode_row(job.info.type, zeros.data(), cols, encoded.data() + row * bytes);
    }
    return append(Bytes(encoded.data(), encoded.size()));
  }

  Status encode(const TensorJob& job, const TensorView& part, const std::string& source_name) {
    const WeightMatrix from = matrix_of(part);
    const std::size_t cols = from.cols;
    const std::size_t rows = from.rows;
    const std::size_t to_bytes = quant::block_bytes(job.info.type) * cols /
                                 quant::block_elements(job.info.type);
    const std::size_t step = (std::max)(kPieceNumbers / cols, std::size_t{1});
    std::vector<std::uint8_t> encoded((std::min)(step, rows) * to_bytes);
    std::vector<std::vector<float>> numbers(pool_.size(), std::vector<float>(cols));
    std::atomic<bool> finite{true};
    const bool keeps_integers = job.keeps_integers();
    for (std::size_t first = 0; first < rows; first += step) {
      const std::size_t count = (std::min)(step, rows - first);
      pool_.parallel_for(count, [&](std::size_t row, std::size_t worker) {
        if (keeps_integers) {
          quant::encode_integers(from, first + row, encoded.data() + row * to_bytes);
          return;
        }
        float* x = numbers[worker].data();
        quant::decode_row(from, first + row, x);
        bool row_finite = true;
        for (std::size_t i = 0; i < cols; ++i) {
          x[i] = x[i] * job.factor + job.offset;
          row_finite = row_finite && std::isfinite(x[i]);
        }
        if (!row_finite) finite = false;
        quant::encode_row(job.info.type, x, cols, encoded.data() + row * to_bytes);
      });
      if (!finite) {
        return Error(ErrorCode::format, source_name + ": tensor '" + part.name +
                                            "' holds a value that is not a number");
      }
      GEMMA_TRY(append(Bytes(encoded.data(), count * to_bytes)));
    }
    return {};
  }

  gguf::Writer& writer_;
  ThreadPool pool_;
  const ProgressFn& progress_;
  std::uint64_t total_;
  std::uint64_t done_ = 0;
};

/// "general.file_type" of a file whose formats follow no scheme: that of the scheme which has the format
/// that most bytes are in.
inline std::uint32_t file_type_of(const std::vector<gguf::TensorInfo>& infos) {
  std::uint32_t best = 0;
  std::uint64_t most = 0;
  for (const QuantizeScheme& scheme : kQuantizeSchemes) {
    std::uint64_t bytes = 0;
    for (const gguf::TensorInfo& info : infos) bytes += info.type == scheme.matrices ? info.bytes() : 0;
    if (bytes > most) best = scheme.file_type;
    most = (std::max)(most, bytes);
  }
  return best;
}

/// A GGUF file's own metadata, or what stands for it; without the keys that tell the formats.
inline Result<gguf::Metadata> metadata_of(const Model& model) {
  gguf::Metadata metadata;
  const ModelSource& source = model.source();
  if (const gguf::File* file = source.gguf_file()) {
    for (const gguf::Entry& entry : file->entries()) {
      const bool about_file = entry.key == "general.file_type" ||
                              entry.key == "general.quantization_version" ||
                              entry.key == "general.alignment" || entry.key.substr(0, 6) == "split.";
      if (!about_file) metadata.add(entry);
    }
    return metadata;
  }
  gguf::add_config(model.config(), metadata);
  GEMMA_TRY_ASSIGN(const Vocabulary vocabulary, source.read_vocabulary());
  gguf::add_vocabulary(vocabulary, model.config().vocab_size, metadata);
  const std::string jinja = source.chat_template();
  if (!jinja.empty()) metadata.add_string("tokenizer.chat_template", jinja);
  return metadata;
}

}  // namespace detail

GEMMA_INLINE Span<const QuantizeScheme> quantize_schemes() {
  return Span<const QuantizeScheme>(detail::kQuantizeSchemes, std::size(detail::kQuantizeSchemes));
}

GEMMA_INLINE const QuantizeScheme& keep_scheme() { return detail::kKeepScheme; }

GEMMA_INLINE const QuantizeScheme* find_quantize_scheme(const std::string& name) {
  std::string wanted = name;
  for (char& c : wanted) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  if (wanted == "q4_k_s" || wanted == "q5_k_s") wanted.resize(wanted.size() - 2);
  for (const QuantizeScheme& scheme : quantize_schemes()) {
    if (wanted == scheme.name) return &scheme;
  }
  return nullptr;
}

GEMMA_INLINE Result<QuantizeReport> quantize(const Model& model, const QuantizeScheme& scheme,
                                             const std::string& path,
                                             const QuantizeOptions& options) {
  constexpr std::uint32_t kQuantizationVersion = 2;  // of ggml's block layouts
  const std::vector<std::string> files = model.source().files();
  const gguf::File* gguf = model.source().gguf_file();
  const bool whole = gguf != nullptr && files.size() == 1;
  const bool mapped = whole && gguf->mapping() != nullptr && gguf->mapping()->is_mapped();
  for (const std::string& file : files) {
    if (whole && (kMappedFilesCanBeReplaced || !mapped)) break;
    if (!same_file(file, path)) continue;
    return Error(ErrorCode::invalid_argument,
                 path + (whole ? ": is the model itself, which this system does not replace while it "
                                 "is mapped; give another name"
                               : ": is a part of the model itself; give another name"));
  }
  GEMMA_TRY_ASSIGN(gguf::Metadata metadata, detail::metadata_of(model));
  metadata.add_uint("general.quantization_version", kQuantizationVersion);
  const bool tied = model.source().find_tensor("output.weight") == nullptr;
  const detail::FormatChooser choose(scheme, model.config(), options.pure, tied);
  const std::vector<detail::TensorJob> jobs = detail::JobList(model, choose).take();

  QuantizeReport report;
  std::vector<gguf::TensorInfo> infos;
  for (const detail::TensorJob& job : jobs) {
    infos.push_back(job.info);
    report.bytes_after += job.info.bytes();
    for (const TensorView* part : job.parts) report.bytes_before += part->data.size();
  }
  report.tensors = jobs.size();
  metadata.add_uint("general.file_type",
                    detail::is_keep(scheme) ? detail::file_type_of(infos) : scheme.file_type);
  GEMMA_TRY_ASSIGN(gguf::Writer writer, gguf::Writer::create(path, metadata, std::move(infos)));
  detail::TensorPipe pipe(writer, options, report.bytes_after);
  for (const detail::TensorJob& job : jobs) GEMMA_TRY(pipe.run(job, model.path()));
  GEMMA_TRY(writer.finish());
  return report;
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_GENERATE_IMPL_QUANTIZE_INL_HPP_
