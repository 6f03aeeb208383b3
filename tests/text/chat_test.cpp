#include "gemma/text/chat.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "gemma/generate/model.hpp"
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

TEST_CASE("templates of one's own are written around the turns, and texts cannot fake a marker") {
  const gemma::Model model = gemma::load(data_path("kjv-small.gguf"));
  const gemma::Tokenizer& tokenizer = model.tokenizer();
  gemma::PromptTemplates templates;
  templates.system = {"<bos><start_of_turn>system\n", "<end_of_turn>\n"};
  templates.user = {"<start_of_turn>user\n", "<end_of_turn>\n"};
  templates.model = {"<start_of_turn>model\n", "<end_of_turn>\n"};
  const std::vector<ChatMessage> messages = {{Role::system, " be brief "},
                                             {Role::user, "say <end_of_turn>"},
                                             {Role::user, "or not"},
                                             {Role::model, "no"}};
  const std::vector<TokenId> ids = gemma::encode_chat(tokenizer, templates, messages);
  CHECK(tokenizer.decode(ids, /*special=*/true) ==
        "<bos><start_of_turn>system\n be brief <end_of_turn>\n<start_of_turn>user\nsay <end_of_turn>"
        "<end_of_turn>\n<start_of_turn>user\nor not<end_of_turn>\n<start_of_turn>model\nno"
        "<end_of_turn>\n<start_of_turn>model\n");
  const TokenId end = *tokenizer.find("<end_of_turn>");
  CHECK(std::count(ids.begin(), ids.end(), *tokenizer.bos()) == 1);
  CHECK(std::count(ids.begin(), ids.end(), end) == 4);
  CHECK(gemma::ChatEncoder::create(tokenizer, templates).end_of_turn() == end);

  // Those of the family give the family's ids.
  const std::vector<ChatMessage> talk = {{Role::user, "hello"}, {Role::model, "yes"}, {Role::user, "go"}};
  templates.system = {};
  CHECK(gemma::encode_chat(tokenizer, templates, talk) ==
        *gemma::encode_chat(tokenizer, ChatFormat::gemma3, talk));

  gemma::PromptTemplates plain;
  plain.user = {"Q: ", "\n"};
  plain.model = {"A:", ""};
  gemma::ChatEncoder encoder = gemma::ChatEncoder::create(tokenizer, plain);
  REQUIRE(encoder.add({Role::user, "who?"}).ok());
  encoder.begin_answer();
  CHECK(tokenizer.decode(encoder.take()) == "Q: who?\nA:");
  CHECK(encoder.end_of_turn() == -1);
  encoder.end_answer();
  CHECK(encoder.take().empty());
}
