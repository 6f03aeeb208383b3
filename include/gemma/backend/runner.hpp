// What every backend offers: one sequence of tokens being read, position by position.
#ifndef GEMMA_BACKEND_RUNNER_HPP_
#define GEMMA_BACKEND_RUNNER_HPP_

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gemma/base/error.hpp"
#include "gemma/base/span.hpp"
#include "gemma/base/token.hpp"
#include "gemma/model/low_rank.hpp"

GEMMA_NAMESPACE_BEGIN

class KvCache;

/// Receives the logits [V] after the index-th token of a batch; they are valid during the call.
using LogitsSink = std::function<void(std::size_t index, Span<float> logits)>;

/// Receives the last hidden state [D], after the final norm, of the index-th token of a batch.
using HiddenSink = std::function<void(std::size_t index, Span<const float> hidden)>;

/// Receives the residual stream [T, D] of a batch, before the final norm.
using ResidualSink = std::function<void(Span<const float> x)>;

/// Receives the largest logit after the index-th token of a batch, and whose it is.
using BestSink = std::function<void(std::size_t index, TokenId id, float logit)>;

/// What a forward pass is to hand out, in the order of the tokens.
struct Outputs {
  std::size_t logit_rows = 0;  ///< logits after the last so many tokens go to `logits`
  /// Only the `top` largest logits of a row matter, and those equal to the last of them: any other
  /// may be −infinity. 0: all.
  std::size_t top = 0;
  LogitsSink logits;           ///< must be set if logit_rows is not 0
  /// If set, and `top` is 1, a backend may call this instead of `logits`: it then need not fetch them
  /// from its device. Of equal logits the first counts; NaN if there is any among them.
  BestSink best;
  HiddenSink hidden;           ///< if set: the hidden states of all tokens
  /// If set: what the layers made. Only the CPU's runner hands it out.
  ResidualSink residual;
};

/// A token, and the logit that it was the largest by: NaN if there is any among them.
struct DrawnToken {
  TokenId id;   ///< the first of equals
  float logit;  ///< as the last matrix product gives it
};

/// A sequence on one device: its KV cache and scratch memory. Not for two threads at once.
class Runner {
 public:
  virtual ~Runner() = default;

  /// Appends `ids` (1 to max_batch() of them, each in [0, V), position() + size <= context()).
  virtual Status forward(Span<const TokenId> ids, const Outputs& outputs) = 0;
  /// Appends `first`, then the likeliest token after it, and so on, `steps` in all or as many as the
  /// backend does at once, and waits only for the last: what is likeliest after each. Fewer than
  /// context() − position() steps. Empty: this backend must be asked token by token.
  virtual Result<std::vector<DrawnToken>> draw_greedily(TokenId /*first*/, std::size_t /*steps*/) {
    return std::vector<DrawnToken>();
  }
  /// Forgets the tokens from `position` on, which were among those of the last forward() or draw_greedily().
  virtual void rewind(std::size_t position) = 0;
  /// Forgets the sequence.
  virtual void reset() = 0;
  /// Adds these to the model's matrices from now on, instead of those before, and forgets the sequence.
  /// Null: none. An error, with all as it was, where the backend cannot, or memory is short.
  virtual Status set_adapters(std::shared_ptr<const LowRankTable> table) {
    if (table != nullptr && !table->empty()) {
      return Error(ErrorCode::unsupported,
                   description() + ": this backend applies no adapters; choose the CPU");
    }
    reset();
    return {};
  }

  virtual std::size_t position() const = 0;   ///< tokens read so far
  virtual std::size_t context() const = 0;    ///< tokens that fit
  virtual std::size_t max_batch() const = 0;  ///< tokens per forward()
  /// "cpu", or "opencl: " and the device.
  virtual std::string description() const = 0;
  /// A runner that has read the same tokens, and shares all memory that neither changes. Null: this
  /// backend has none; another runner must read them again.
  virtual Result<std::unique_ptr<Runner>> clone() const { return std::unique_ptr<Runner>(); }
  /// The keys and values of the tokens read, if they lie in this machine's memory; else null.
  virtual KvCache* kv_cache() { return nullptr; }
  /// Goes on after the first `position` tokens of a sequence whose keys and values were put into
  /// kv_cache().
  virtual void resume(std::size_t /*position*/) {}
  /// What happened to it since it was made; empty: nothing.
  virtual std::string remark() const { return {}; }
};

GEMMA_NAMESPACE_END

#endif  // GEMMA_BACKEND_RUNNER_HPP_
