// Finding stop strings in a stream of text, without ever showing the beginning of one.
#ifndef GEMMA_GENERATE_STOP_STRINGS_HPP_
#define GEMMA_GENERATE_STOP_STRINGS_HPP_

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "gemma/config.hpp"

GEMMA_NAMESPACE_BEGIN

/// Text goes in piece by piece; what comes out can no longer be part of a stop string.
class StopStringFilter {
 public:
  /// Copies the strings; empty ones are never found.
  explicit StopStringFilter(const std::vector<std::string>& stops) : stops_(stops) {}

  /// Adds a piece and returns the text that is now certain. After a stop string was found (see
  /// stopped()) that is the text before it.
  std::string push(std::string_view piece) {
    held_ += piece;
    std::size_t found = std::string::npos;
    for (const std::string& stop : stops_) {
      if (!stop.empty()) found = (std::min)(found, held_.find(stop));
    }
    stopped_ = found != std::string::npos;
    const std::size_t certain = stopped_ ? found : held_.size() - possible_beginning();
    std::string out = held_.substr(0, certain);
    held_.erase(0, stopped_ ? std::string::npos : certain);
    return out;
  }

  /// What is still held back, once no more text will come.
  std::string flush() {
    std::string out;
    out.swap(held_);
    return out;
  }

  bool stopped() const { return stopped_; }  ///< whether the last push() found a stop string

 private:
  /// Length of the longest end of the held text that begins a stop string.
  std::size_t possible_beginning() const {
    std::size_t longest = 0;
    for (const std::string& stop : stops_) {
      const std::size_t limit = stop.empty() ? 0 : stop.size() - 1;
      for (std::size_t n = (std::min)(limit, held_.size()); n > longest; --n) {
        if (held_.compare(held_.size() - n, n, stop, 0, n) == 0) longest = n;
      }
    }
    return longest;
  }

  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

GEMMA_NAMESPACE_END

#endif  // GEMMA_GENERATE_STOP_STRINGS_HPP_
