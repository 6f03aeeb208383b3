// Bodies of llm_parameters.hpp. Numbers of fields are those of llm_params.proto.
#ifndef GEMMA_FORMATS_IMPL_LLM_PARAMETERS_INL_HPP_
#define GEMMA_FORMATS_IMPL_LLM_PARAMETERS_INL_HPP_

#include "gemma/base/protobuf.hpp"
#include "gemma/formats/llm_parameters.hpp"

GEMMA_NAMESPACE_BEGIN
namespace mediapipe {
namespace detail {

/// Calls f, which gives a Status, with each field of a message.
template <class F>
Status for_each_field(Bytes message, const std::string& name, const F& f) {
  ProtoReader reader(message, name, "MediaPipe's LlmParameters");
  while (!reader.done()) {
    GEMMA_TRY_ASSIGN(const ProtoField field, reader.next());
    GEMMA_TRY(f(field));
  }
  return {};
}

inline Status read_attention(Bytes message, const std::string& name, LlmParameters& p) {
  return for_each_field(message, name, [&](const ProtoField& field) -> Status {
    if (field.number == 4) p.attention_softcap = field.real();
    if (field.number == 5) p.scale_type = field.value;
    if (field.number == 6) p.window = field.value;
    return {};
  });
}

inline Status read_transformer(Bytes message, const std::string& name, LlmParameters& p) {
  return for_each_field(message, name, [&](const ProtoField& field) -> Status {
    switch (field.number) {
      case 3: p.width = field.value; break;
      case 4: p.ffn_width = field.value; break;
      case 5: p.head_dim = field.value; break;
      case 6: p.heads = field.value; break;
      case 7: p.layers = field.value; break;
      case 9: p.kv_heads = field.value; break;
      case 11:
        return for_each_field(field.bytes, name, [&](const ProtoField& inner) -> Status {
          if (inner.number == 2) p.activation = inner.value;
          return {};
        });
      case 12:
        return for_each_field(field.bytes, name, [&](const ProtoField& inner) -> Status {
          if (inner.number == 2) p.final_softcap = inner.real();
          return {};
        });
      case 16: return read_attention(field.bytes, name, p);
      case 19: p.local_per_global = field.value; break;
      case 32: p.rope_base = field.real(); break;
      case 33: p.rope_scale = field.real(); break;
      default: break;
    }
    return {};
  });
}

}  // namespace detail

GEMMA_INLINE Result<LlmParameters> read_llm_parameters(Bytes message, const std::string& name) {
  LlmParameters p;
  GEMMA_TRY(detail::for_each_field(message, name, [&](const ProtoField& field) -> Status {
    switch (field.number) {
      case 1: return detail::read_transformer(field.bytes, name, p);
      case 2: p.vocab_size = field.value; break;
      case 4: p.start_token_id = field.value; break;
      case 5: p.stop_tokens.emplace_back(field.text()); break;
      case 6: p.start_token = std::string(field.text()); break;
      case 18:
        if (field.bytes.empty()) {
          p.stop_token_ids.push_back(field.value);
        } else {
          ProtoReader packed(field.bytes, name, "a list of ids");
          while (!packed.done()) {
            GEMMA_TRY_ASSIGN(const std::uint64_t id, packed.varint());
            p.stop_token_ids.push_back(id);
          }
        }
        break;
      default: break;
    }
    return {};
  }));
  return p;
}

}  // namespace mediapipe
GEMMA_NAMESPACE_END

#endif  // GEMMA_FORMATS_IMPL_LLM_PARAMETERS_INL_HPP_
