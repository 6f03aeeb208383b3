// gemma run: continue a prompt.
#pragma once

#include "common.hpp"

namespace cli {

struct RunOptions {
  EngineOptions engine;
  std::optional<std::string> prompt;
  std::optional<std::string> prompt_file;
  std::optional<std::vector<TokenId>> prompt_ids;
  gemma::GenerateOptions generate;
  bool chat = false;
  bool json = false;
  bool quiet = false;
  std::string save;
  std::string restore;
};

/// The ids to read: as given, or the prompt's, in a turn with --chat. `first`: nothing was read before.
inline std::vector<TokenId> prompt_of(const RunOptions& o, const gemma::Model& model, bool first) {
  if (o.prompt_ids) return *o.prompt_ids;
  if (!o.prompt && !o.prompt_file) return {};
  const std::string text = o.prompt_file ? read_file(*o.prompt_file) : *o.prompt;
  if (o.chat) {
    remark_on_chat_format(model);
    gemma::ChatEncoder encoder =
        gemma::ChatEncoder::create(model.tokenizer(), model.chat_format()).value();
    if (!first) {
      encoder.take();  // BOS
      encoder.end_answer();
    }
    encoder.add({gemma::Role::user, text}).value();
    encoder.begin_answer();
    return encoder.take();
  }
  gemma::EncodeOptions encode;
  encode.bos = first && model.tokenizer().add_bos();
  return model.tokenizer().encode(text, encode);
}

/// Sampling options out of their range are wrong use.
inline void check(const gemma::GenerateOptions& options) {
  const gemma::Status status = gemma::check_sampler_options(options.sampler);
  if (!status) throw UsageError(status.error().message());
}

inline int run(const RunOptions& o) {
  check(o.generate);
  if (o.restore.empty() && !o.prompt && !o.prompt_file && !o.prompt_ids) {
    throw UsageError("one of --prompt, --prompt-file and --prompt-ids is required, or --restore");
  }
  const gemma::Model model = o.engine.load();
  const std::vector<TokenId> prompt = prompt_of(o, model, o.restore.empty());
  gemma::Session session(model, o.engine.session_options(model));
  Interrupt interrupt(session);
  if (!o.restore.empty()) {
    ProgressLine progress("tokens");
    session
        .try_restore(o.restore,
                     [&](const gemma::Progress& p) {
                       progress.update("reading the session again", p.done, p.total);
                       return true;
                     })
        .value();
  }
  gemma::GenerateOptions options = o.generate;
  gemma::GenerateResult result;
  {
    ProgressLine progress("tokens");
    options.progress = [&](const gemma::Progress& p) {
      progress.update("reading the prompt", p.done, p.total);
      return true;
    };
    result = session.generate(
        Span<const TokenId>(prompt),
        [&](std::string_view piece) {
          progress.clear();
          if (!o.json) std::cout << piece << std::flush;
          return static_cast<bool>(std::cout);
        },
        options);
  }
  if (!o.save.empty()) session.save(o.save);
  if (o.json) {
    Json json = {{"text", result.text},
                 {"ids", result.ids},
                 {"prompt_ids", result.prompt_ids},
                 {"stop", gemma::stop_reason_name(result.stop)},
                 {"backend", session.backend()},
                 {"backend_reason", session.backend_reason()},
                 {"timing",
                  {{"load_s", model.load_seconds()},
                   {"prefill_tok_s", result.prefill_rate()},
                   {"decode_tok_s", result.decode_rate()}}}};
    if (options.draft_tokens > 0) {
      json["draft"] = {{"guessed", result.drafted}, {"right", result.accepted}};
    }
    print_json(json);
  } else {
    std::cout << '\n' << std::flush;
    if (!o.quiet) {
      std::fprintf(stderr,
                   "gemma: %zu tokens read at %.1f/s, %zu written at %.1f/s, ended by %s; %s: %s\n",
                   result.prompt_ids.size(), result.prefill_rate(), result.ids.size(),
                   result.decode_rate(), gemma::stop_reason_name(result.stop),
                   session.backend().c_str(), session.backend_reason().c_str());
    }
  }
  return result.stop == gemma::StopReason::cancelled ? kInterrupted : 0;
}

inline void add_sampling(CLI::App& app, gemma::GenerateOptions& o) {
  gemma::SamplerOptions& s = o.sampler;
  app.add_option("-n,--max-tokens", o.max_tokens, "tokens to write at most")
      ->capture_default_str()->check(whole_number());
  app.add_option("--temperature,--temp", s.temperature, "0 is greedy; higher is bolder")
      ->capture_default_str();
  app.add_option("--top-k", s.top_k, "keep the K likeliest tokens; 0: all")
      ->capture_default_str()->check(whole_number());
  app.add_option("--top-p", s.top_p, "keep the likeliest that together reach P; 1: all")
      ->capture_default_str();
  app.add_option("--min-p", s.min_p, "drop those below P times the likeliest; 0: none")
      ->capture_default_str();
  app.add_option("--repeat-penalty", s.repeat_penalty, "above 1: repeat less; 1: off")
      ->capture_default_str();
  app.add_option("--seed", s.seed, "the same seed writes the same text")
      ->capture_default_str()->check(whole_number());
  app.add_option("--stop", o.stop, "a text that ends the answer; may be given several times")
      ->allow_extra_args(false);
  app.add_flag("--ignore-eos", o.ignore_eos, "go on after the tokens that end an answer");
  app.add_option("--draft", o.draft_tokens,
                 "with --temperature 0: guess so many tokens from earlier text and check them at "
                 "once; the text stays the same, and comes faster where it repeats itself; 0: none")
      ->capture_default_str()->check(CLI::Range(0, 7));
  app.add_option("--steps-per-sync", o.steps_per_sync,
                 "with --temperature 0 on a GPU: tokens drawn before the host waits for them")
      ->capture_default_str()->check(CLI::Range(1, 64));
}

inline void add_run(CLI::App& app, Action& action) {
  CLI::App* sub = app.add_subcommand("run", "Continue a prompt and stream the text");
  auto o = std::make_shared<RunOptions>();
  o->engine.add_to(*sub);
  o->engine.add_two_pass_head(*sub);
  o->engine.lora.add_to(*sub);
  CLI::Option_group* prompt = sub->add_option_group("prompt", "what to continue (one of)");
  add_text(*prompt, "-p,--prompt", o->prompt, "the text itself");
  add_text(*prompt, "--prompt-file", o->prompt_file, "a file with the text; - is standard input");
  CLI::Option* ids = add_ids(*prompt, "--prompt-ids", o->prompt_ids,
                             "token ids, read exactly as given: 2,105,…");
  prompt->require_option(0, 1);
  add_sampling(*sub, o->generate);
  sub->add_flag("--chat", o->chat, "put the prompt into a user's turn of the model's format")
      ->excludes(ids);
  sub->add_option("--save", o->save,
                  "afterwards write what was read and written to this file, to go on from");
  sub->add_option("--restore", o->restore,
                  "go on from a file that --save wrote with this model; a prompt may follow");
  sub->add_flag("--json", o->json, "print one JSON object instead");
  sub->add_flag("--quiet", o->quiet, "no closing line with rates");
  sub->footer(
      "Examples:\n"
      "  gemma run model.gguf --prompt 'Once upon a time' --max-tokens 100\n"
      "  gemma run model.gguf --chat --prompt 'Name three rivers.' --temperature 0\n"
      "  gemma run model.gguf --prompt 'Once upon a time' --lora style.gguf --lora names:0.5\n"
      "  gemma run model.gguf --prompt-file story.txt --seed 7 --stop $'\\n\\n' --json\n"
      "  gemma run model.gguf --prompt-file book.txt --max-tokens 0 --save book.session\n"
      "  gemma run model.gguf --restore book.session --prompt 'The end'");
  sub->callback([o, &action] { action = [o] { return run(*o); }; });
}

}  // namespace cli
