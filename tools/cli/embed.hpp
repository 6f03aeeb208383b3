// gemma embed: a text as one vector.
#pragma once

#include "common.hpp"

namespace cli {

struct EmbedArguments {
  EngineOptions engine;
  std::optional<std::string> text;
  std::optional<std::string> file;
  std::optional<std::vector<TokenId>> ids;
  std::string pooling = "mean";
  bool raw = false;
  bool json = false;
};

inline int embed(const EmbedArguments& a) {
  const gemma::Model model = a.engine.load();
  gemma::Session session(model, a.engine.session_options(model));
  Interrupt interrupt(session);
  gemma::EmbedOptions options;
  options.pooling = a.pooling == "mean" ? gemma::Pooling::mean : gemma::Pooling::last_token;
  options.normalise = !a.raw;
  const std::vector<float> embedding =
      (a.ids ? session.try_embed(Span<const TokenId>(*a.ids), options)
             : session.try_embed(a.file ? read_file(*a.file) : *a.text, options))
          .value();
  if (a.json) {
    print_json({{"tokens", session.position()}, {"embedding", embedding}});
  } else {
    for (const float x : embedding) std::printf("%.9g\n", static_cast<double>(x));
  }
  return 0;
}

inline void add_embed(CLI::App& app, Action& action) {
  CLI::App* sub = app.add_subcommand("embed", "Turn a text into a vector");
  auto a = std::make_shared<EmbedArguments>();
  a->engine.add_to(*sub);
  a->engine.lora.add_to(*sub);
  CLI::Option_group* input = sub->add_option_group("input", "what to embed (one of)");
  add_text(*input, "--text", a->text, "the text itself");
  add_text(*input, "--file", a->file, "a file with the text; - is standard input");
  add_ids(*input, "--ids", a->ids, "token ids, read exactly as given: 2,105,…");
  input->require_option(1);
  sub->add_option("--pooling", a->pooling, "the mean of all tokens' hidden states, or the last's")
      ->check(CLI::IsMember({"mean", "last"}))
      ->capture_default_str();
  sub->add_flag("--raw", a->raw, "do not scale the vector to length 1");
  sub->add_flag("--json", a->json, "print JSON");
  sub->footer(
      "Works with every model, best with one made for it. Examples:\n"
      "  gemma embed embeddinggemma-300m.gguf --text 'task: search result | query: rivers'\n"
      "  gemma embed model.gguf --file story.txt --pooling last --json");
  sub->callback([a, &action] { action = [a] { return embed(*a); }; });
}

}  // namespace cli
