// Where news goes: progress of long steps, and log lines. Both are optional callbacks of the user.
#ifndef GEMMA_BASE_PROGRESS_HPP_
#define GEMMA_BASE_PROGRESS_HPP_

#include <cstdint>
#include <functional>
#include <string_view>

#include "gemma/config.hpp"

GEMMA_NAMESPACE_BEGIN

/// How far a step is; `total` is 0 where it is not known.
struct Progress {
  std::string_view step;    ///< "load", "prefill", "quantize", …
  std::uint64_t done = 0;   ///< in the unit of the step: bytes, tokens, …
  std::uint64_t total = 0;  ///< the same when the step is over
};

/// Called now and then during long steps; return false to cancel (the step ends with
/// ErrorCode::cancelled).
using ProgressFn = std::function<bool(const Progress&)>;

/// How much a log line matters.
enum class LogLevel {
  info,    ///< what was chosen, and why
  warning  ///< the user may want to change something
};

/// Receives one line without a newline.
using LogFn = std::function<void(LogLevel, std::string_view)>;

GEMMA_NAMESPACE_END

#endif  // GEMMA_BASE_PROGRESS_HPP_
