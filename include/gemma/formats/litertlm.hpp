// LiteRT-LM's containers (.litertlm): sections of several kinds, each with a few keys and values. What
// a section means is up to who reads it; kinds that nobody knows yet are kept, too.
// Source: litertlm_header_schema.fbs of LiteRT-LM; measured on files of versions 1.0 and 1.7.
#ifndef GEMMA_FORMATS_LITERTLM_HPP_
#define GEMMA_FORMATS_LITERTLM_HPP_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "gemma/base/error.hpp"
#include "gemma/base/span.hpp"

GEMMA_NAMESPACE_BEGIN
namespace litertlm {

/// Kinds of sections; files may have others.
enum class SectionKind : std::uint8_t {
  generic = 1,          ///< any bytes
  tflite = 3,           ///< a TFLite file, which the key "model_type" tells from others
  sentencepiece = 4,    ///< a tokenizer.model
  llm_metadata = 5,     ///< the protocol buffer LlmMetadata
  huggingface_zlib = 6, ///< a tokenizer.json: 8 bytes of its size, then a zlib stream
  tflite_weights = 7    ///< of the TFLite file of the same "model_type", kept apart from it
};

/// A part of the file.
struct Section {
  SectionKind kind = SectionKind::generic;  ///< as the file has it
  std::map<std::string, std::string> keys;  ///< those whose values are texts
  Bytes data;                               ///< inside the file
};

/// What a kind is called, for messages: "tokenizer.model (4)".
std::string kind_name(SectionKind kind);

/// The sections, in the order of the file, all of them inside it. `name` is for messages.
Result<std::vector<Section>> read_sections(Bytes file, const std::string& name);

}  // namespace litertlm
GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/formats/impl/litertlm-inl.hpp"
#endif

#endif  // GEMMA_FORMATS_LITERTLM_HPP_
