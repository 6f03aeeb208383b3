// gemma chat: a conversation in the terminal.
#pragma once

#include "run.hpp"

namespace cli {

struct ChatOptions {
  EngineOptions engine;
  gemma::GenerateOptions generate;
  std::string system;
  bool thinking = false;
};

/// The turns of one conversation and the session that has read them.
class Conversation {
 public:
  Conversation(const gemma::Model& model, const ChatOptions& options)
      : model_(model), options_(options), session_(model, options.engine.session_options(model)) {
    reset();
  }

  void reset() {
    session_.reset();
    gemma::ChatOptions chat;
    chat.thinking = options_.thinking;
    encoder_ = std::make_unique<gemma::ChatEncoder>(
        gemma::ChatEncoder::create(model_.tokenizer(), model_.chat_format(), chat).value());
    if (!options_.system.empty()) {
      encoder_->add({gemma::Role::system, options_.system}).value();
    }
    turns_.clear();
  }

  void say(const std::string& text) {
    encoder_->add({gemma::Role::user, text}).value();
    encoder_->begin_answer();
    const std::vector<TokenId> ids = encoder_->take();
    Interrupt interrupt(session_);
    last_ = session_.generate(
        Span<const TokenId>(ids),
        [](std::string_view piece) {
          std::cout << piece << std::flush;
          return true;
        },
        options_.generate);
    encoder_->end_answer();
    std::cout << '\n';
    turns_.push_back({"user", text});
    turns_.push_back({"model", last_.text});
    if (last_.stop == gemma::StopReason::context_full) {
      std::cout << "(the context is full; /reset begins a new conversation)\n";
    }
  }

  void stats() const {
    std::printf("%zu of %zu positions used; last answer: %zu tokens at %.1f/s, read at %.1f/s\n",
                session_.position(), session_.context(), last_.ids.size(), last_.decode_rate(),
                last_.prefill_rate());
  }

  void save(const std::string& path) const {
    Json json = Json::array();
    for (const auto& [role, text] : turns_) json.push_back({{"role", role}, {"content", text}});
    std::ofstream file(file_path(path), std::ios::binary);
    file << json.dump(1, ' ', false, Json::error_handler_t::replace) << '\n';
    if (!file.flush()) throw std::runtime_error(path + ": cannot write this file");
    std::cout << "saved " << turns_.size() << " turns to " << path << '\n';
  }

  /// Reads a saved conversation again from its beginning.
  void load(const std::string& path) {
    const Json json = Json::parse(read_file(path), nullptr, false);
    if (!json.is_array()) throw std::runtime_error(path + ": not a conversation saved by /save");
    std::vector<gemma::ChatMessage> messages;
    for (const Json& turn : json) {
      const std::string role = turn.value("role", "");
      messages.push_back({role == "user" ? gemma::Role::user : gemma::Role::model,
                          turn.value("content", "")});
    }
    reset();
    for (const gemma::ChatMessage& m : messages) {
      encoder_->add(m).value();
      turns_.push_back({m.role == gemma::Role::user ? "user" : "model", m.content});
    }
    std::cout << "loaded " << turns_.size() << " turns\n";
  }

 private:
  gemma::Model model_;
  ChatOptions options_;
  gemma::Session session_;
  std::unique_ptr<gemma::ChatEncoder> encoder_;
  std::vector<std::pair<std::string, std::string>> turns_;
  gemma::GenerateResult last_;
};

/// A line that begins with a slash.
inline void chat_command(Conversation& chat, const std::string& line) {
  const std::size_t space = line.find(' ');
  const std::string name = line.substr(0, space);
  const std::string argument = space == std::string::npos ? "" : line.substr(space + 1);
  if (name == "/reset") {
    chat.reset();
    std::cout << "a new conversation begins\n";
  } else if (name == "/stats") {
    chat.stats();
  } else if ((name == "/save" || name == "/load") && !argument.empty()) {
    name == "/save" ? chat.save(argument) : chat.load(argument);
  } else {
    std::cout << "/reset        begin a new conversation\n"
                 "/save FILE    write the conversation to a file\n"
                 "/load FILE    go on with a saved one\n"
                 "/stats        speed and room left\n"
                 "/help         this list\n"
                 "ctrl-C stops an answer; "
              << console::kEndKeys << " ends the program\n";
  }
}

inline int chat(const ChatOptions& o) {
  check(o.generate);
  const gemma::Model model = o.engine.load();
  if (model.config().bidirectional) {
    throw std::runtime_error(model.path() + ": this model makes embeddings, see `gemma embed`");
  }
  remark_on_chat_format(model);
  Conversation conversation(model, o);
  std::cout << "Chat with " << gemma::family_name(model.config().family)
            << "; /help lists the commands, " << console::kEndKeys << " ends.\n";
  std::signal(SIGINT, SIG_IGN);  // ctrl-C stops an answer, never the conversation
  for (std::string line; std::cout << "> " << std::flush && console::read_line(line);) {
    if (line.empty()) continue;
    try {
      line[0] == '/' ? chat_command(conversation, line) : conversation.say(line);
    } catch (const std::exception& error) {
      std::cerr << "gemma: error: " << error.what() << '\n';
      conversation.reset();
    }
  }
  std::cout << '\n';
  return 0;
}

inline void add_chat(CLI::App& app, Action& action) {
  CLI::App* sub = app.add_subcommand("chat", "Talk with an instruction-tuned model");
  auto o = std::make_shared<ChatOptions>();
  o->engine.add_to(*sub);
  o->engine.add_two_pass_head(*sub);
  o->engine.lora.add_to(*sub);
  add_sampling(*sub, o->generate);
  sub->add_option("--system", o->system, "what the model is to know about its task");
  sub->add_flag("--thinking", o->thinking, "Gemma 4: let the model think before it answers");
  sub->footer(
      "Examples:\n"
      "  gemma chat model.gguf\n"
      "  gemma chat model.gguf --system 'Answer in one sentence.' --temperature 0.7");
  sub->callback([o, &action] { action = [o] { return chat(*o); }; });
}

}  // namespace cli
