#include "gemma/text/chat.hpp"

#include <doctest/doctest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "vocabularies.hpp"

namespace {

using gemma::ChatFormat;
using gemma::ChatMessage;
using gemma::Role;
using gemma::TokenId;

std::vector<ChatMessage> messages_of(const nlohmann::json& conversation) {
  std::vector<ChatMessage> messages;
  for (const nlohmann::json& m : conversation["messages"]) {
    const std::string role = m["role"].get<std::string>();
    messages.push_back({role == "system" ? Role::system
                        : role == "user" ? Role::user
                                         : Role::model,
                        m["content"].get<std::string>()});
  }
  return messages;
}

/// All conversations of one kind of chat.json; every one must give exactly its safe ids.
void check_conversations(const std::string& kind, const std::string& vocabulary,
                         ChatFormat format, bool thinking) {
  const auto real = real_tokenizer(vocabulary);
  if (!real) return;
  gemma::ChatOptions options;
  options.thinking = thinking;
  std::ifstream file(data_path("tokenizer/chat.json"));
  std::size_t checked = 0;
  for (const nlohmann::json& c : nlohmann::json::parse(file)) {
    if (c["family"] != kind) continue;
    CAPTURE(c["name"].get<std::string>());
    const bool answer = c["add_generation_prompt"].get<bool>();
    const auto ids = gemma::encode_chat(real->tokenizer, format, messages_of(c), answer, options);
    ++checked;
    if (c.contains("error")) {
      CHECK_FALSE(ids.ok());
      continue;
    }
    REQUIRE(ids.ok());
    CHECK(*ids == c["ids_safe"].get<std::vector<TokenId>>());
  }
  CHECK(checked == 5);
}

}  // namespace

TEST_CASE("conversations of Gemma 1 and 2 give the template's ids") {
  check_conversations("gemma1_2", "gemma1", ChatFormat::gemma1, false);
}

TEST_CASE("conversations of Gemma 3 give the template's ids") {
  check_conversations("gemma3", "gemma3", ChatFormat::gemma3, false);
}

TEST_CASE("conversations of Gemma 4 give the template's ids") {
  check_conversations("gemma4_31b", "gemma4", ChatFormat::gemma4, false);
}

TEST_CASE("conversations of Gemma 4 with thinking give the template's ids") {
  check_conversations("gemma4_31b_thinking", "gemma4", ChatFormat::gemma4, true);
}

TEST_CASE("turn by turn gives the same ids as the whole conversation") {
  const auto real = real_tokenizer("gemma3");
  if (!real) return;
  const gemma::Tokenizer& tokenizer = real->tokenizer;
  const std::vector<ChatMessage> messages = {
      {Role::user, "Hi!"}, {Role::model, "Hello."}, {Role::user, "Bye <eos>"}};
  const auto want = gemma::encode_chat(tokenizer, ChatFormat::gemma3, messages).value();

  auto encoder = gemma::ChatEncoder::create(tokenizer, ChatFormat::gemma3).value();
  REQUIRE(encoder.add(messages[0]).ok());
  encoder.begin_answer();
  std::vector<TokenId> ids = encoder.take();
  const auto append = [&](const std::vector<TokenId>& more) {
    ids.insert(ids.end(), more.begin(), more.end());
  };
  append(tokenizer.encode("Hello."));
  encoder.end_answer();
  REQUIRE(encoder.add(messages[2]).ok());
  encoder.begin_answer();
  append(encoder.take());
  CHECK(ids == want);
}
