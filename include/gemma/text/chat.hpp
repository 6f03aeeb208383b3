// How a conversation is written for each family: roles and turns as token ids.
#ifndef GEMMA_TEXT_CHAT_HPP_
#define GEMMA_TEXT_CHAT_HPP_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gemma/base/error.hpp"
#include "gemma/base/token.hpp"
#include "gemma/formats/prompt_templates.hpp"
#include "gemma/text/tokenizer.hpp"

GEMMA_NAMESPACE_BEGIN

/// The turn formats, by the family that began with it.
enum class ChatFormat {
  gemma1,  ///< Gemma 1 and 2: no system role
  gemma3,  ///< Gemma 3 and 3n: the system's text stands before the first user's, in one turn
  gemma4   ///< Gemma 4: the system has a turn of its own; other markers
};

/// Whose turn it is.
enum class Role {
  system,  ///< who made the program; the first turn, if any
  user,    ///< who asks
  model    ///< who answers ("assistant" elsewhere)
};

/// One turn of a conversation.
struct ChatMessage {
  Role role;            ///< another than that of the turn before
  std::string content;  ///< UTF-8; white space around it is dropped, but not of Gemma 3's system
};

/// How a conversation is begun.
struct ChatOptions {
  bool thinking = false;  ///< Gemma 4: let the model think before it answers
};

/// Writes a conversation turn by turn. The texts of the turns are plain text: no marker in them is
/// ever taken for one, so that nobody can end a turn from within. Begins with exactly one BOS.
class ChatEncoder {
 public:
  /// An error if the vocabulary lacks the format's markers.
  static Result<ChatEncoder> create(const Tokenizer& tokenizer, ChatFormat format,
                                    const ChatOptions& options = {});

  /// With a turn format of one's own, in which roles may follow each other as they like.
  static ChatEncoder create(const Tokenizer& tokenizer, const PromptTemplates& templates);

  /// Adds a whole turn. Errors: a system turn that is not the first or that the family lacks; two
  /// turns of one role in a row.
  Status add(const ChatMessage& message);
  /// Begins the model's turn, to be continued by generation.
  void begin_answer();
  /// Ends the model's turn after the generated ids were read.
  void end_answer();

  /// The ids written since the last call.
  std::vector<TokenId> take();

  /// The token that ends a turn; −1 if templates name none.
  TokenId end_of_turn() const { return close_; }

 private:
  explicit ChatEncoder(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}
  void marker(TokenId id);
  void with_markers(std::string_view text);
  void open_turn(std::string_view role);
  void close_turn();
  void flush();

  const Tokenizer* tokenizer_;
  ChatFormat format_ = ChatFormat::gemma3;
  ChatOptions options_;
  std::optional<PromptTemplates> templates_;
  TokenId open_ = -1;
  TokenId close_ = -1;
  TokenId think_ = -1;
  TokenId channel_open_ = -1;
  TokenId channel_close_ = -1;
  std::string plain_;         ///< text not yet tokenised
  std::string before_first_;  ///< Gemma 3's system text
  bool any_turn_ = false;
  Role last_ = Role::system;
  std::vector<TokenId> ids_;
};

/// A whole conversation; with `answer`, up to where the model's next turn begins.
Result<std::vector<TokenId>> encode_chat(const Tokenizer& tokenizer, ChatFormat format,
                                         const std::vector<ChatMessage>& messages,
                                         bool answer = true, const ChatOptions& options = {});

/// The same with a turn format of one's own.
std::vector<TokenId> encode_chat(const Tokenizer& tokenizer, const PromptTemplates& templates,
                                 const std::vector<ChatMessage>& messages, bool answer = true);

GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/text/impl/chat-inl.hpp"
#endif

#endif  // GEMMA_TEXT_CHAT_HPP_
