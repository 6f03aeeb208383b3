// A conversation with a model: one KV cache, tokens in, text out.
#ifndef GEMMA_GENERATE_SESSION_HPP_
#define GEMMA_GENERATE_SESSION_HPP_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gemma/backend/runner.hpp"
#include "gemma/base/error.hpp"
#include "gemma/base/progress.hpp"
#include "gemma/generate/adapter.hpp"
#include "gemma/generate/model.hpp"
#include "gemma/generate/sampler.hpp"
#if defined(GEMMA_OPENCL)
#include "gemma/backend/opencl_choice.hpp"
#endif

GEMMA_NAMESPACE_BEGIN

/// Where a session computes. A GPU that fails later is replaced by the CPU, which reads the tokens
/// again.
enum class Backend {
  automatic,  ///< a GPU only if it passes every check and is faster, else the CPU
  cpu,        ///< no library of OpenCL is even looked for
  opencl      ///< a device, or an error that says why there is none
};

/// How much a session may hold, and where it computes.
struct SessionOptions {
  std::size_t context = 0;  ///< positions; 0: the model's own, at most 4096
  std::size_t threads = 0;  ///< 0: as many as the machine runs at once
  std::size_t batch = 512;  ///< prompt tokens processed at a time
  std::optional<simd::KvType> kv_type;  ///< none: Model::default_kv_type()
  Backend backend = Backend::automatic;  ///< an error if it is `opencl` and cannot be had
  bool two_pass_head = false;  ///< see CpuOptions: faster greedy and top-k decoding, more memory
  /// What the model's matrices are changed by: the sum of these. Adapters are applied on the CPU, which
  /// is then chosen; with Backend::opencl they are an error. Plans of memory count them as scratch.
  std::vector<SessionAdapter> adapters;
  LogFn log;                   ///< hears which device was chosen, and when it fails
#if defined(GEMMA_OPENCL)
  OpenClOptions opencl;        ///< with_environment() adds to them
#endif
};

/// How an answer is drawn and when it ends.
struct GenerateOptions {
  std::size_t max_tokens = 512;   ///< of the answer; 0: the prompt is only read
  SamplerOptions sampler;         ///< checked by check_sampler_options()
  std::vector<std::string> stop;  ///< texts that end the answer; they are not part of it
  bool ignore_eos = false;        ///< go on after the tokens that end an answer
  /// Tokens to guess by look_up() and check at once; 0: none. Greedy text stays the same; for other
  /// samplers, penalties and filters nothing is guessed. 3 is a good number.
  std::size_t draft_tokens = 0;
  /// Greedy tokens that a GPU draws, one after the other, before it hands them out together: fewer
  /// waits for the device, text in larger pieces. The text stays the same; the CPU, drafts, other
  /// samplers, penalties and filters go token by token.
  std::size_t steps_per_sync = 1;
  /// Called with the logits [V] before each token is drawn; may change them (−infinity forbids).
  std::function<void(Span<float> logits)> logit_filter;
  ProgressFn progress;            ///< of reading the prompt; false cancels
};

/// How the last hidden states of a text's tokens become one vector.
enum class Pooling {
  mean,       ///< of all tokens, BOS and EOS included
  last_token  ///< that of the last token alone
};

/// What try_embed() makes of the hidden states.
struct EmbedOptions {
  Pooling pooling = Pooling::mean;  ///< EmbeddingGemma wants `mean`
  bool normalise = true;            ///< to length 1
};

/// How long things took, and how much memory they take.
struct SessionMetrics {
  double load_seconds = 0.0;         ///< of the model: Model::load_seconds()
  double init_seconds = 0.0;         ///< of the session, the choice of the backend included
  double first_token_seconds = 0.0;  ///< of the last answer, from the call to its first token
  double prefill_rate = 0.0;         ///< of the last answer, in tokens per second
  double decode_rate = 0.0;          ///< likewise
  MemoryPlan memory;                 ///< where the session runs
};

/// Why an answer ended.
enum class StopReason {
  eos,           ///< the model drew one of Model::stop_ids()
  max_tokens,    ///< as many as GenerateOptions::max_tokens were drawn
  stop_string,   ///< one of GenerateOptions::stop came
  context_full,  ///< the KV cache has no free position
  cancelled      ///< by Session::cancel(), the TextSink or the ProgressFn
};

/// "eos", "max_tokens", "stop_string", "context_full" or "cancelled".
const char* stop_reason_name(StopReason reason);

/// An answer, and what it took.
struct GenerateResult {
  std::string text;                          ///< the answer, without a stop string
  std::vector<TokenId> prompt_ids;           ///< what was read before the answer, BOS included
  std::vector<TokenId> ids;                  ///< the answer, without the token that ended it
  StopReason stop = StopReason::max_tokens;  ///< why it ended
  double prefill_seconds = 0.0;              ///< for reading the prompt
  double first_token_seconds = 0.0;          ///< until the first token was drawn
  double decode_seconds = 0.0;               ///< for the answer
  std::size_t drafted = 0;                   ///< tokens guessed
  std::size_t accepted = 0;                  ///< of them, those that were right
  /// Tokens per second; 0 where there is nothing to divide.
  double prefill_rate() const;
  /// Likewise; the first token, which comes from reading the prompt, does not count.
  double decode_rate() const;
};

class Generation;

/// Receives the answer in whole UTF-8 characters as it grows; return false to stop.
using TextSink = std::function<bool(std::string_view piece)>;

/// One sequence of tokens. Not for two threads at once, but for cancel(). The try_ forms return
/// errors, the others throw them; after an error the sequence is as it was, or reset.
class Session {
 public:
  /// Makes the KV cache and starts the backend. Errors: no batch, more than 1024 threads, a context
  /// longer than the model was trained for, a KV type that its heads do not fit, too little memory,
  /// no device for Backend::opencl. Shares the model, which need not be kept.
  static Result<Session> create(const Model& model, const SessionOptions& options = {});
#if !defined(GEMMA_NO_EXCEPTIONS)
  /// Like create(); throws the Error.
  explicit Session(const Model& model, const SessionOptions& options = {})
      : Session(create(model, options).value()) {}
#endif

  /// Reads `prompt` (with BOS, if it is the first and the file asks for it; special tokens in it
  /// are plain text) and continues it. An empty prompt continues what was read before, or the last
  /// answer.
  Result<GenerateResult> try_generate(std::string_view prompt, const TextSink& sink = {},
                                      const GenerateOptions& options = {});
  /// The same for ids, which are read exactly as given.
  Result<GenerateResult> try_generate(Span<const TokenId> prompt, const TextSink& sink = {},
                                      const GenerateOptions& options = {});
#if !defined(GEMMA_NO_EXCEPTIONS)
  /// Like try_generate(); throws the Error.
  GenerateResult generate(std::string_view prompt, const TextSink& sink = {},
                          const GenerateOptions& options = {}) {
    return try_generate(prompt, sink, options).value();
  }
  /// Like try_generate(); throws the Error.
  GenerateResult generate(Span<const TokenId> prompt, const TextSink& sink = {},
                          const GenerateOptions& options = {}) {
    return try_generate(prompt, sink, options).value();
  }
#endif

  /// Like try_generate(), on a thread of its own, which also calls the sink and the functions in
  /// `options`. The session must stay where it is, and be left alone, until the Generation is over
  /// (generate/generation.hpp).
  Generation generate_async(std::string prompt, TextSink sink = {}, GenerateOptions options = {});

  /// Appends a text, of which more may follow, and answers nothing; tokenised by itself, with BOS as
  /// try_generate() does. Then an empty prompt is enough to have it continued.
  Status try_read(std::string_view text, const ProgressFn& progress = {});
  /// The same for ids, which are read exactly as given.
  Status try_read(Span<const TokenId> ids, const ProgressFn& progress = {});
#if !defined(GEMMA_NO_EXCEPTIONS)
  /// Like try_read(); throws the Error.
  void read(std::string_view text) { try_read(text).value(); }
#endif

  /// Another session after the same tokens. The KV cache is shared until one of both reads on; only
  /// a GPU's session cannot share, and the copy reads all tokens again.
  Result<Session> try_clone() const;
  /// Writes what was read to a file, with its keys and values if the session runs on the CPU. The
  /// file appears under its name once it is whole.
  Status try_save(const std::string& path) const;
  /// Goes on where the session that was saved in the file was. Errors: no such file, damage,
  /// another model's or version's, more tokens than fit. Keys and values of another type, or for
  /// another backend, are computed anew from the tokens.
  Status try_restore(const std::string& path, const ProgressFn& progress = {});
#if !defined(GEMMA_NO_EXCEPTIONS)
  /// Like try_clone(); throws the Error.
  Session clone() const { return try_clone().value(); }
  /// Like try_save(); throws the Error.
  void save(const std::string& path) const { try_save(path).value(); }
  /// Like try_restore(); throws the Error.
  void restore(const std::string& path) { try_restore(path).value(); }
#endif

  /// Appends ids and hands out what `outputs` asks for; indices count from the first of `ids`.
  Status try_evaluate(Span<const TokenId> ids, const Outputs& outputs,
                      const ProgressFn& progress = {});

  /// Appends ids and gives the logits [V] after the last of them.
  Result<std::vector<float>> try_logits(Span<const TokenId> ids);
#if !defined(GEMMA_NO_EXCEPTIONS)
  /// Like try_logits(); throws the Error.
  std::vector<float> logits(Span<const TokenId> ids) { return try_logits(ids).value(); }
#endif

  /// One vector [D] for a whole text, by forgetting everything and reading it from its BOS. Models
  /// made for it (EmbeddingGemma) multiply the pooled vector by their last matrices.
  Result<std::vector<float>> try_embed(std::string_view text, const EmbedOptions& options = {});
  /// The same for ids, which are read exactly as given.
  Result<std::vector<float>> try_embed(Span<const TokenId> ids, const EmbedOptions& options = {});
#if !defined(GEMMA_NO_EXCEPTIONS)
  /// Like try_embed(); throws the Error.
  std::vector<float> embed(std::string_view text, const EmbedOptions& options = {}) {
    return try_embed(text, options).value();
  }
#endif

  /// Forgets everything read.
  void reset();

  /// Changes SessionOptions::adapters, and forgets everything read, which depended on them. A session on
  /// a GPU goes to the CPU. Errors leave all as it was: an adapter that was loaded for another model, too
  /// little memory, Backend::opencl.
  Status try_set_adapters(std::vector<SessionAdapter> adapters);
#if !defined(GEMMA_NO_EXCEPTIONS)
  /// Like try_set_adapters(); throws the Error.
  void set_adapters(std::vector<SessionAdapter> adapters) {
    try_set_adapters(std::move(adapters)).value();
  }
#endif
  /// Those in use.
  const std::vector<SessionAdapter>& adapters() const { return options_.adapters; }

  /// All tokens read or drawn.
  const std::vector<TokenId>& history() const { return history_; }
  std::size_t position() const { return runner_->position(); }  ///< tokens in the KV cache
  std::size_t context() const { return runner_->context(); }    ///< tokens that fit
  const Model& model() const { return model_; }                 ///< a copy, which shares all of it

  /// Makes a generation under way in another thread stop after the current token or batch.
  void cancel() { cancelled_->store(true); }

  /// Runner::description(): "cpu", or "opencl: " and the device.
  std::string backend() const { return runner_->description(); }
  /// Why this backend: one sentence, and another if a GPU has failed since.
  std::string backend_reason() const;
  /// Of the session, and of its last answer.
  SessionMetrics metrics() const;
#if defined(GEMMA_OPENCL)
  /// The OpenCL devices that were looked at for this session, and what became of each.
  const std::vector<DeviceReport>& devices() const { return devices_; }
#endif

 private:
  Session(const Model& model, const SessionOptions& options, std::unique_ptr<Runner> runner,
          std::string reason)
      : model_(model),
        options_(options),
        runner_(std::move(runner)),
        cancelled_(std::make_unique<std::atomic<bool>>(false)),
        backend_reason_(std::move(reason)) {}

  /// What the next token is drawn from: the logits, or itself if the backend has found the largest.
  struct Last {
    std::vector<float> logits;
    std::optional<TokenId> best;
  };
  static Outputs ask_for(Last& last, const GenerateOptions& options);

  std::vector<TokenId> encode(std::string_view text) const;
  Status read_again(const std::vector<TokenId>& history, std::size_t position,
                    const ProgressFn& progress);
  Status evaluate_unread(const Outputs& outputs, const ProgressFn& progress);
  Status check_ids(Span<const TokenId> ids) const;
  Status check_generates() const;
  Status forward(Span<const TokenId> ids, const Outputs& outputs);
  Result<std::vector<TokenId>> check_draft(const std::vector<TokenId>& unread,
                                           const std::vector<TokenId>& draft);
  Result<std::vector<TokenId>> draw_ahead(TokenId next, std::size_t steps);
  Status decode(GenerateResult& result, Last& last, const TextSink& sink,
                const GenerateOptions& options);

  Model model_;
  SessionOptions options_;
  std::unique_ptr<Runner> runner_;
  std::unique_ptr<std::atomic<bool>> cancelled_;
  std::string backend_reason_;
#if defined(GEMMA_OPENCL)
  std::vector<DeviceReport> devices_;
#endif
  std::vector<TokenId> history_;  ///< all tokens read or drawn
  std::vector<TokenId> unread_;   ///< the last of them, if not yet in the KV cache
  double init_seconds_ = 0.0;
  double first_token_seconds_ = 0.0;
  double prefill_rate_ = 0.0;
  double decode_rate_ = 0.0;
};

/// Memory a session with these options takes.
MemoryPlan plan_memory(const Model& model, const SessionOptions& options);

#if defined(GEMMA_OPENCL)
/// Memory of a device that such a session takes if it runs there, or options.opencl.gpu_layers of
/// its layers do.
MemoryPlan plan_opencl_memory(const Model& model, const SessionOptions& options);

/// The device that such a session would start first, whatever options.backend is.
OpenClChoice choose_opencl_device(const Model& model, const SessionOptions& options);
#endif

GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/generate/impl/session-inl.hpp"
#include "gemma/generate/impl/session_state-inl.hpp"
#endif

#endif  // GEMMA_GENERATE_SESSION_HPP_
