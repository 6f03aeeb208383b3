// Bodies of chat.hpp.
#ifndef GEMMA_TEXT_IMPL_CHAT_INL_HPP_
#define GEMMA_TEXT_IMPL_CHAT_INL_HPP_

#include <algorithm>
#include <utility>

#include "gemma/text/chat.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

/// Without white space at both ends, as the templates' "| trim".
inline std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kWhite = " \t\n\r\f\v";
  const std::size_t first = text.find_first_not_of(kWhite);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kWhite) - first + 1);
}

/// The longest control token that begins a text.
inline std::optional<TokenId> leading_marker(const Tokenizer& tokenizer, std::string_view text) {
  constexpr std::size_t kLongest = 64;
  for (std::size_t n = (std::min)(text.size(), kLongest); n > 0; --n) {
    const std::optional<TokenId> id = tokenizer.find(text.substr(0, n));
    if (id && tokenizer.piece_type(*id) == PieceType::control) return id;
  }
  return {};
}

inline const PromptTemplate& template_of(const PromptTemplates& templates, Role role) {
  if (role == Role::system) return templates.system;
  return role == Role::user ? templates.user : templates.model;
}

}  // namespace detail

GEMMA_INLINE Result<ChatEncoder> ChatEncoder::create(const Tokenizer& tokenizer, ChatFormat format,
                                                     const ChatOptions& options) {
  ChatEncoder encoder(tokenizer);
  encoder.format_ = format;
  encoder.options_ = options;
  const bool fourth = format == ChatFormat::gemma4;
  struct Marker {
    const char* piece;
    TokenId* id;
    bool needed;
  };
  const Marker markers[] = {{fourth ? "<|turn>" : "<start_of_turn>", &encoder.open_, true},
                            {fourth ? "<turn|>" : "<end_of_turn>", &encoder.close_, true},
                            {"<|think|>", &encoder.think_, fourth && options.thinking},
                            {"<|channel>", &encoder.channel_open_, false},
                            {"<channel|>", &encoder.channel_close_, false}};
  for (const Marker& m : markers) {
    const std::optional<TokenId> id = tokenizer.find(m.piece);
    if (id) *m.id = *id;
    if (!id && m.needed) {
      return Error(ErrorCode::unsupported, "the vocabulary has no piece '" + std::string(m.piece) +
                                               "': this model knows no turns; use it with a "
                                               "plain prompt");
    }
  }
  if (tokenizer.bos()) encoder.ids_.push_back(*tokenizer.bos());
  return encoder;
}

GEMMA_INLINE ChatEncoder ChatEncoder::create(const Tokenizer& tokenizer,
                                             const PromptTemplates& templates) {
  ChatEncoder encoder(tokenizer);
  encoder.templates_ = templates;
  const std::string& end = templates.model.suffix;
  for (std::size_t i = 0; i < end.size() && encoder.close_ < 0; ++i) {
    encoder.close_ = detail::leading_marker(tokenizer, std::string_view(end).substr(i)).value_or(-1);
  }
  if (tokenizer.bos()) encoder.ids_.push_back(*tokenizer.bos());
  return encoder;
}

GEMMA_INLINE void ChatEncoder::flush() {
  const std::vector<TokenId> ids = tokenizer_->encode(plain_);
  ids_.insert(ids_.end(), ids.begin(), ids.end());
  plain_.clear();
}

GEMMA_INLINE void ChatEncoder::marker(TokenId id) {
  flush();
  ids_.push_back(id);
}

GEMMA_INLINE void ChatEncoder::with_markers(std::string_view text) {
  while (!text.empty()) {
    const std::optional<TokenId> id = detail::leading_marker(*tokenizer_, text);
    // A conversation begins with one BOS, also where a template has it.
    const bool again = id && !any_turn_ && id == tokenizer_->bos() && plain_.empty();
    if (id && !again) marker(*id);
    if (!id) plain_ += text.front();
    text.remove_prefix(id ? tokenizer_->piece(*id).size() : 1);
  }
}

GEMMA_INLINE void ChatEncoder::open_turn(std::string_view role) {
  marker(open_);
  plain_ += role;
  plain_ += '\n';
}

GEMMA_INLINE void ChatEncoder::close_turn() {
  marker(close_);
  plain_ += '\n';
}

GEMMA_INLINE Status ChatEncoder::add(const ChatMessage& message) {
  if (templates_) {
    const PromptTemplate& around = detail::template_of(*templates_, message.role);
    with_markers(around.prefix);
    plain_ += message.content;
    any_turn_ = true;
    with_markers(around.suffix);
    return {};
  }
  const auto wrong = [](const char* what) { return Error(ErrorCode::invalid_argument, what); };
  const bool first = !any_turn_;
  if (message.role == Role::system) {
    if (format_ == ChatFormat::gemma1) {
      return wrong("Gemma 1 and 2 have no system role: put the text into the first user's turn");
    }
    if (!first) return wrong("the system's turn must be the first");
  } else if (message.role == last_) {
    return wrong("two turns of the same role in a row: user and model must take turns");
  }
  any_turn_ = true;
  last_ = message.role;
  if (message.role == Role::system && format_ == ChatFormat::gemma3) {
    before_first_ = message.content + "\n\n";
    return {};
  }
  const bool think = first && format_ == ChatFormat::gemma4 && options_.thinking;
  if (message.role == Role::system || think) {
    open_turn("system");
    if (think) {
      marker(think_);
      plain_ += '\n';
    }
    if (message.role == Role::system) plain_ += detail::trimmed(message.content);
    close_turn();
    if (message.role == Role::system) return {};
  }
  open_turn(message.role == Role::user ? "user" : "model");
  plain_ += std::exchange(before_first_, {});
  plain_ += detail::trimmed(message.content);
  close_turn();
  return {};
}

GEMMA_INLINE void ChatEncoder::begin_answer() {
  if (templates_) {
    with_markers(templates_->model.prefix);
    any_turn_ = true;
    return;
  }
  open_turn("model");
  // An empty thought tells Gemma 4 to answer at once.
  const bool channels = channel_open_ >= 0 && channel_close_ >= 0;
  if (format_ == ChatFormat::gemma4 && !options_.thinking && channels) {
    marker(channel_open_);
    plain_ += "thought\n";
    marker(channel_close_);
  }
  last_ = Role::model;
}

GEMMA_INLINE void ChatEncoder::end_answer() {
  if (templates_) return with_markers(templates_->model.suffix);
  close_turn();
}

GEMMA_INLINE std::vector<TokenId> ChatEncoder::take() {
  flush();
  return std::exchange(ids_, {});
}

GEMMA_INLINE Result<std::vector<TokenId>> encode_chat(const Tokenizer& tokenizer,
                                                      ChatFormat format,
                                                      const std::vector<ChatMessage>& messages,
                                                      bool answer, const ChatOptions& options) {
  GEMMA_TRY_ASSIGN(ChatEncoder encoder, ChatEncoder::create(tokenizer, format, options));
  for (const ChatMessage& message : messages) GEMMA_TRY(encoder.add(message));
  if (answer) encoder.begin_answer();
  return encoder.take();
}

GEMMA_INLINE std::vector<TokenId> encode_chat(const Tokenizer& tokenizer,
                                              const PromptTemplates& templates,
                                              const std::vector<ChatMessage>& messages,
                                              bool answer) {
  ChatEncoder encoder = ChatEncoder::create(tokenizer, templates);
  for (const ChatMessage& message : messages) static_cast<void>(encoder.add(message));
  if (answer) encoder.begin_answer();
  return encoder.take();
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_TEXT_IMPL_CHAT_INL_HPP_
