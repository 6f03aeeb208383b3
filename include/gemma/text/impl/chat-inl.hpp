// Bodies of chat.hpp.
#ifndef GEMMA_TEXT_IMPL_CHAT_INL_HPP_
#define GEMMA_TEXT_IMPL_CHAT_INL_HPP_

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

GEMMA_INLINE void ChatEncoder::flush() {
  const std::vector<TokenId> ids = tokenizer_->encode(plain_);
  ids_.insert(ids_.end(), ids.begin(), ids.end());
  plain_.clear();
}

GEMMA_INLINE void ChatEncoder::marker(TokenId id) {
  flush();
  ids_.push_back(id);
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

GEMMA_INLINE void ChatEncoder::end_answer() { close_turn(); }

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

GEMMA_NAMESPACE_END

#endif  // GEMMA_TEXT_IMPL_CHAT_INL_HPP_
