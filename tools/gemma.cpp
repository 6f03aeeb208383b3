// The `gemma` command: every part of the library from the terminal.
#include "cli/bench.hpp"
#include "cli/chat.hpp"
#include "cli/devices.hpp"
#include "cli/embed.hpp"
#include "cli/info.hpp"
#include "cli/logits.hpp"
#include "cli/quantize.hpp"
#include "cli/run.hpp"
#include "cli/tokens.hpp"

#include <algorithm>
#include <new>

namespace {

constexpr int kRuntimeError = 1;
constexpr int kUsageError = 2;

int fail(std::string message, int code) {
  std::replace(message.begin(), message.end(), '\n', ' ');  // one line, whatever was quoted
  std::cerr << "gemma: error: " << message << '\n';
  return code;
}

/// What was wrong about the arguments, and where to read on.
std::string explain(const CLI::App& app, const CLI::ParseError& error, const std::string& first) {
  const auto commands = app.get_subcommands();
  if (commands.empty()) {
    return "'" + first + "' is no command; `gemma --help` lists them";
  }
  return std::string(error.what()) + "; see `gemma " + commands.front()->get_name() + " --help`";
}

int parse_and_run(std::vector<std::string> arguments) {
  CLI::App app("Run Google's Gemma models on this machine.", "gemma");
  app.set_version_flag("--version", [] { return gemma::build_info(); });
  app.require_subcommand(1);
  app.allow_windows_style_options(false);  // /folder/model.gguf is a path everywhere
  app.footer("`gemma COMMAND --help` explains a command. A first try:\n"
             "  gemma run model.gguf --prompt 'The capital of France is'");
  cli::Action action;
  cli::add_run(app, action);
  cli::add_chat(app, action);
  cli::add_tokenize(app, action);
  cli::add_detokenize(app, action);
  cli::add_logits(app, action);
  cli::add_score(app, action);
  cli::add_embed(app, action);
  cli::add_bench(app, action);
  cli::add_info(app, action);
  cli::add_convert(app, action);
  cli::add_quantize(app, action);
  cli::add_devices(app, action);
  if (arguments.size() <= 1) {
    std::cerr << app.help();
    return kUsageError;
  }
  const std::string first = arguments[1];
  try {
    // CLI11 takes them from the last to the first, without the program's name.
    std::reverse(arguments.begin(), arguments.end());
    arguments.pop_back();
    app.parse(std::move(arguments));
  } catch (const CLI::ParseError& error) {
    // --help and --version come here, too.
    if (error.get_exit_code() == 0) return app.exit(error);
    return fail(explain(app, error, first), kUsageError);
  }
  return action();
}

}  // namespace

int main(int argc, char** argv) {
  const console::Utf8Streams streams;
  try {
    const int code = parse_and_run(console::arguments(argc, argv));
    const bool written = std::fflush(stdout) == 0 && std::ferror(stdout) == 0 && std::cout.flush();
    return written ? code : fail("cannot write to standard output", kRuntimeError);
  } catch (const cli::UsageError& error) {
    return fail(error.what(), kUsageError);
  } catch (const gemma::Error& error) {
    const bool cancelled = error.code() == gemma::ErrorCode::cancelled;
    return fail(error.message(), cancelled ? cli::kInterrupted : kRuntimeError);
  } catch (const std::bad_alloc&) {
    return fail("not enough memory", kRuntimeError);
  } catch (const std::exception& error) {
    return fail(error.what(), kRuntimeError);
  }
}
