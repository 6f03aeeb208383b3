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
  ProtoReader reader(message, name, "a description of a language model");
  while (!reader.done()) {
    GEMMA_TRY_ASSIGN(const ProtoField field, reader.next());
    GEMMA_TRY(f(field));
  }
  return {};
}

/// Its prefix and suffix, which have these numbers.
inline Status read_turn(Bytes message, const std::string& name, std::uint64_t prefix,
                        std::uint64_t suffix, PromptTemplate& turn) {
  return for_each_field(message, name, [&](const ProtoField& field) -> Status {
    if (field.number == prefix) turn.prefix = std::string(field.text());
    if (field.number == suffix) turn.suffix = std::string(field.text());
    return {};
  });
}

/// One for each role; `prefix` and `suffix` are as above.
inline Status read_turns(Bytes message, const std::string& name, std::uint64_t prefix,
                         std::uint64_t suffix, LlmParameters& p) {
  return for_each_field(message, name, [&](const ProtoField& field) -> Status {
    PromptTemplate* const turns[] = {&p.turns.user, &p.turns.model, &p.turns.system};
    if (field.number < 1 || field.number > 3) return {};
    return read_turn(field.bytes, name, prefix, suffix, *turns[field.number - 1]);
  });
}

/// The ids of a field, which may hold one or, packed, several.
inline Status read_ids(const ProtoField& field, const std::string& name,
                       std::vector<std::uint64_t>& ids) {
  if (field.bytes.empty()) {
    ids.push_back(field.value);
    return {};
  }
  ProtoReader packed(field.bytes, name, "a list of ids");
  while (!packed.done()) {
    GEMMA_TRY_ASSIGN(const std::uint64_t id, packed.varint());
    ids.push_back(id);
  }
  return {};
}

/// A token as its piece or as ids; several ids are a text, which is passed over.
inline Status read_token(Bytes message, const std::string& name, std::vector<std::string>& pieces,
                         std::vector<std::uint64_t>& ids) {
  return for_each_field(message, name, [&](const ProtoField& field) -> Status {
    if (field.number == 2) pieces.emplace_back(field.text());
    if (field.number != 1) return {};
    std::vector<std::uint64_t> found;
    GEMMA_TRY(for_each_field(field.bytes, name, [&](const ProtoField& inner) -> Status {
      return inner.number == 1 ? read_ids(inner, name, found) : Status();
    }));
    if (found.size() == 1) ids.push_back(found[0]);
    return {};
  });
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
      case 8: return detail::read_turn(field.bytes, name, 2, 3, p.turns.user);
      case 17: return detail::read_turns(field.bytes, name, 2, 3, p);
      case 18: return detail::read_ids(field, name, p.stop_token_ids);
      default: break;
    }
    return {};
  }));
  return p;
}

GEMMA_INLINE Result<LlmMetadata> read_llm_metadata(Bytes message, const std::string& name) {
  LlmMetadata metadata;
  LlmParameters& p = metadata.parameters;
  GEMMA_TRY(detail::for_each_field(message, name, [&](const ProtoField& field) -> Status {
    switch (field.number) {
      case 1: {
        std::vector<std::string> pieces;
        std::vector<std::uint64_t> ids;
        GEMMA_TRY(detail::read_token(field.bytes, name, pieces, ids));
        if (!pieces.empty()) p.start_token = pieces[0];
        if (!ids.empty()) p.start_token_id = ids[0];
        break;
      }
      case 2: return detail::read_token(field.bytes, name, p.stop_tokens, p.stop_token_ids);
      case 3: return detail::read_turns(field.bytes, name, 1, 2, p);
      case 6:
        return detail::for_each_field(field.bytes, name, [&](const ProtoField& inner) -> Status {
          metadata.model_type = inner.number;
          return {};
        });
      case 7: metadata.jinja = std::string(field.text()); break;
      default: break;
    }
    return {};
  }));
  return metadata;
}

}  // namespace mediapipe
GEMMA_NAMESPACE_END

#endif  // GEMMA_FORMATS_IMPL_LLM_PARAMETERS_INL_HPP_
