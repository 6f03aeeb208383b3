// An answer that another thread is writing.
#ifndef GEMMA_GENERATE_GENERATION_HPP_
#define GEMMA_GENERATE_GENERATION_HPP_

#include <memory>
#include <string>

#include "gemma/base/error.hpp"
#include "gemma/generate/session.hpp"

GEMMA_NAMESPACE_BEGIN

/// An answer on its way: Session::generate_async() makes them. Movable; destroying it cancels the
/// generation and waits for its end. The session must outlive it, and be left alone until then.
class Generation {
 public:
  Generation(Generation&& other) noexcept;             ///< `other` is over then
  Generation& operator=(Generation&& other) noexcept;  ///< they change places
  ~Generation();

  /// Whether the answer is there, or an error, so that wait() would not wait.
  bool done() const;
  /// Stops after the current token or batch; wait() gives what there was.
  void cancel();
  /// Waits for the answer and gives it; once.
  Result<GenerateResult> try_wait();
#if !defined(GEMMA_NO_EXCEPTIONS)
  /// Like try_wait(); throws the Error.
  GenerateResult wait() { return try_wait().value(); }
#endif

 private:
  friend class Session;
  struct State;
  explicit Generation(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;  ///< null once the answer was taken, or the object moved from
};

GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/generate/impl/generation-inl.hpp"
#endif

#endif  // GEMMA_GENERATE_GENERATION_HPP_
