// Model files carry a Jinja template of their conversations. Templates are programs and are not
// executed here; this tells whether one writes what its family was trained on, which chat.hpp writes.
#ifndef GEMMA_TEXT_CHAT_TEMPLATE_HPP_
#define GEMMA_TEXT_CHAT_TEMPLATE_HPP_

#include <string>
#include <string_view>

#include "gemma/text/chat.hpp"

GEMMA_NAMESPACE_BEGIN

/// Why chat.hpp's turns may differ from those of a template: "it writes '<|im_start|>'"; empty if
/// the template is one that `format` stands for. It is if it writes the family's turn markers and,
/// beside them, no other `<marker>` and no sentence of its own, such as a system prompt.
std::string unknown_template_reason(std::string_view jinja, ChatFormat format);

GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/text/impl/chat_template-inl.hpp"
#endif

#endif  // GEMMA_TEXT_CHAT_TEMPLATE_HPP_
