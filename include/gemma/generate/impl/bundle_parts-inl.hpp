// Bodies of mediapipe_bundle.hpp: which parts of a file are the graph, the tokenizer and the metadata.
#ifndef GEMMA_GENERATE_IMPL_BUNDLE_PARTS_INL_HPP_
#define GEMMA_GENERATE_IMPL_BUNDLE_PARTS_INL_HPP_

#include <algorithm>
#include <cstddef>
#include <string_view>

#include "gemma/formats/file_kind.hpp"
#include "gemma/formats/litertlm.hpp"
#include "gemma/formats/metadata.hpp"
#include "gemma/formats/zip.hpp"
#include "gemma/generate/mediapipe_bundle.hpp"

GEMMA_NAMESPACE_BEGIN
namespace mediapipe {
namespace detail {

/// For a part that a text model needs; `there` lists what there is.
inline Error missing_part(const std::string& name, const std::string& part,
                          const std::string& there) {
  return Error(ErrorCode::format, name + ": " + part + " is missing; the file holds " +
                                      (there.empty() ? "nothing" : there));
}

inline Result<BundleParts> read_task_parts(Bytes file, const std::string& name) {
  GEMMA_TRY_ASSIGN(const std::vector<zip::Entry> entries, zip::read_entries(file, name));
  BundleParts parts;
  parts.format = "MediaPipe .task bundle";
  const auto content = [&](const char* wanted) -> Result<Bytes> {
    std::string there;
    for (const zip::Entry& entry : entries) {
      there += (there.empty() ? "" : ", ") + gguf::printable(entry.name);
      if (entry.name != wanted) continue;
      if (entry.method == 0) return entry.data;
      GEMMA_TRY_ASSIGN(AlignedArray<std::uint8_t> unpacked, zip::unpack(entry, name));
      parts.unpacked.push_back(std::move(unpacked));
      return Bytes(parts.unpacked.back().data(), parts.unpacked.back().size());
    }
    return missing_part(name, "entry '" + std::string(wanted) + "'", there);
  };
  constexpr const char* kGraph = "TF_LITE_PREFILL_DECODE";
  constexpr const char* kTokenizer = "TOKENIZER_MODEL";
  constexpr const char* kMetadata = "METADATA";
  parts.graph_name = name + ": " + kGraph;
  parts.tokenizer_name = name + ": " + kTokenizer;
  GEMMA_TRY_ASSIGN(parts.graph, content(kGraph));
  GEMMA_TRY_ASSIGN(parts.tokenizer, content(kTokenizer));
  GEMMA_TRY_ASSIGN(const Bytes metadata, content(kMetadata));
  GEMMA_TRY_ASSIGN(parts.metadata.parameters,
                   read_llm_parameters(metadata, name + ": " + kMetadata));
  return parts;
}

/// What a section is called in messages.
inline std::string section_name(const litertlm::Section& section) {
  const auto type = section.keys.find("model_type");
  return litertlm::kind_name(section.kind) +
         (type == section.keys.end() ? "" : " " + gguf::printable(type->second));
}

inline Result<BundleParts> read_litertlm_parts(Bytes file, const std::string& name) {
  using litertlm::Section;
  using litertlm::SectionKind;
  GEMMA_TRY_ASSIGN(const std::vector<Section> sections, litertlm::read_sections(file, name));
  std::string there;
  for (const Section& section : sections) {
    there += (there.empty() ? "" : ", ") + section_name(section);
  }
  const auto find = [&](SectionKind kind, std::string_view model_type) {
    return std::find_if(sections.begin(), sections.end(), [&](const Section& section) {
      const auto type = section.keys.find("model_type");
      const std::string_view text = type == section.keys.end() ? std::string_view() : type->second;
      return section.kind == kind && (model_type.empty() || text == model_type);
    });
  };
  BundleParts parts;
  parts.format = "LiteRT-LM file";

  constexpr const char* kGraph = "tf_lite_prefill_decode";
  auto graph = find(SectionKind::tflite, kGraph);
  if (graph == sections.end()) graph = find(SectionKind::tflite, "tf_lite_artisan_text_decoder");
  if (graph == sections.end()) {
    return missing_part(name, "a TFLite section of the model_type '" + std::string(kGraph) + "'", there);
  }
  const auto type = graph->keys.find("model_type");
  const auto apart = find(SectionKind::tflite_weights,
                          type == graph->keys.end() ? std::string_view() : type->second);
  if (apart != sections.end()) {
    return Error(ErrorCode::unsupported,
                 name + ": keeps the weights of its graph apart, in a section " + section_name(*apart) +
                     ", which this version does not read; use a file with the weights in the graph");
  }
  parts.graph = graph->data;
  parts.graph_name = name + ": section " + section_name(*graph);

  auto tokenizer = find(SectionKind::sentencepiece, "");
  parts.packed_json = tokenizer == sections.end();
  if (parts.packed_json) tokenizer = find(SectionKind::huggingface_zlib, "");
  if (tokenizer == sections.end()) return missing_part(name, "a section with a tokenizer", there);
  parts.tokenizer = tokenizer->data;
  parts.tokenizer_name = name + ": section " + section_name(*tokenizer);

  const auto metadata = find(SectionKind::llm_metadata, "");
  if (metadata == sections.end()) return missing_part(name, "a section LlmMetadata", there);
  GEMMA_TRY_ASSIGN(parts.metadata, read_llm_metadata(metadata->data,
                                                     name + ": section " + section_name(*metadata)));
  return parts;
}

}  // namespace detail

GEMMA_INLINE Result<BundleParts> read_parts(Bytes file, const std::string& name) {
  return file_kind(file) == FileKind::litertlm ? detail::read_litertlm_parts(file, name)
                                               : detail::read_task_parts(file, name);
}

}  // namespace mediapipe
GEMMA_NAMESPACE_END

#endif  // GEMMA_GENERATE_IMPL_BUNDLE_PARTS_INL_HPP_
