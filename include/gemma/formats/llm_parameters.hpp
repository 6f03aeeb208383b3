// MediaPipe's and LiteRT-LM's descriptions of a language model: the protocol buffers LlmParameters and
// LlmMetadata, as far as a text model of the Gemma family needs them; absent numbers are 0.
// Source: llm_params.proto of MediaPipe, llm_metadata.proto of LiteRT-LM.
#ifndef GEMMA_FORMATS_LLM_PARAMETERS_HPP_
#define GEMMA_FORMATS_LLM_PARAMETERS_HPP_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "gemma/base/error.hpp"
#include "gemma/base/span.hpp"
#include "gemma/formats/prompt_templates.hpp"

GEMMA_NAMESPACE_BEGIN
namespace mediapipe {

/// Names are shortened, numbers are as the file has them.
struct LlmParameters {
  std::uint64_t vocab_size = 0;                      ///< rows of the embedding
  std::optional<std::uint64_t> start_token_id;       ///< what texts begin with
  std::string start_token;                           ///< or its piece
  std::vector<std::uint64_t> stop_token_ids;         ///< what ends an answer
  std::vector<std::string> stop_tokens;              ///< or their pieces
  PromptTemplates turns;                             ///< empty where the file has none

  std::uint64_t width = 0;          ///< embedding_dim
  std::uint64_t ffn_width = 0;      ///< hidden_dimension
  std::uint64_t head_dim = 0;       ///< head_dimension
  std::uint64_t heads = 0;          ///< num_heads
  std::uint64_t layers = 0;         ///< num_stacks
  std::uint64_t kv_heads = 0;       ///< num_kv_heads; 0: as many as heads
  std::uint64_t activation = 0;     ///< of the feed-forward: 1 is GELU
  float final_softcap = 0.0f;       ///< final_project.soft_cap
  float attention_softcap = 0.0f;   ///< self_attention.soft_cap
  std::uint64_t scale_type = 0;     ///< of q·k: 2 is d^-½, 3 (D/H)^-½
  std::uint64_t window = 0;         ///< self_attention.sliding_window
  std::uint64_t local_per_global = 0;  ///< num_local_layers_per_global
  float rope_base = 0.0f;           ///< global_rope_wavelength
  float rope_scale = 0.0f;          ///< global_rope_scaling
};

/// Reads the message and passes over fields it does not know. `name` is for messages.
Result<LlmParameters> read_llm_parameters(Bytes message, const std::string& name);

/// What LiteRT-LM's files say instead.
struct LlmMetadata {
  LlmParameters parameters;      ///< tokens and templates; no sizes
  std::uint64_t model_type = 0;  ///< 0: not said; else which field of llm_model_type is set: 4 Gemma 3
  std::string jinja;             ///< the Jinja template of conversations
};

/// The same for LlmMetadata.
Result<LlmMetadata> read_llm_metadata(Bytes message, const std::string& name);

}  // namespace mediapipe
GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/formats/impl/llm_parameters-inl.hpp"
#endif

#endif  // GEMMA_FORMATS_LLM_PARAMETERS_HPP_
