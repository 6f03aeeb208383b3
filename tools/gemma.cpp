// The `gemma` command: every part of the library from the terminal.
#include "cli/bench.hpp"
#include "cli/chat.hpp"
#include "cli/info.hpp"
#include "cli/logits.hpp"
#include "cli/run.hpp"
#include "cli/tokens.hpp"

namespace {

constexpr int kRuntimeError = 1;
constexpr int kUsageError = 2;

int fail(const std::string& message, int code) {
  std::cerr << "gemma: error: " << message << '\n';
  return code;
}

int parse_and_run(int argc, char** argv) {
  CLI::App app("Run Google's Gemma models on this machine.", "gemma");
  app.set_version_flag("--version", [] { return gemma::build_info(); });
  app.require_subcommand(1);
  app.footer("`gemma COMMAND --help` explains a command. A first try:\n"
             "  gemma run model.gguf --prompt 'The capital of France is'");
  cli::Action action;
  cli::add_run(app, action);
  cli::add_chat(app, action);
  cli::add_tokenize(app, action);
  cli::add_detokenize(app, action);
  cli::add_logits(app, action);
  cli::add_score(app, action);
  cli::add_bench(app, action);
  cli::add_info(app, action);
  cli::add_devices(app, action);
  if (argc <= 1) {
    std::cerr << app.help();
    return kUsageError;
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // --help and --version come here, too.
    if (error.get_exit_code() == 0) return app.exit(error);
    return fail(error.what(), kUsageError);
  }
  return action();
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const int code = parse_and_run(argc, argv);
    return std::cout.flush() ? code : fail("cannot write to standard output", kRuntimeError);
  } catch (const cli::UsageError& error) {
    return fail(error.what(), kUsageError);
  } catch (const std::exception& error) {
    return fail(error.what(), kRuntimeError);
  }
}
