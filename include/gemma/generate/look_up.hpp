// Prompt look-up: guesses of what comes next, from what came before. Text that repeats parts of its
// prompt, as summaries and corrections do, is then checked several tokens at a time instead of
// written one by one. Source: Saxena, Prompt Lookup Decoding, 2023; Leviathan et al., arXiv 2211.17192.
#ifndef GEMMA_GENERATE_LOOK_UP_HPP_
#define GEMMA_GENERATE_LOOK_UP_HPP_

#include <algorithm>
#include <cstddef>
#include <vector>

#include "gemma/base/span.hpp"
#include "gemma/base/token.hpp"

GEMMA_NAMESPACE_BEGIN

/// Up to `most` tokens that followed the latest earlier place where the last three tokens of `history`
/// (or else the last two) stood; none if there is no such place.
inline std::vector<TokenId> look_up(Span<const TokenId> history, std::size_t most) {
  const std::size_t n = history.size();
  for (const std::size_t length : {std::size_t{3}, std::size_t{2}}) {
    if (most == 0 || n <= length) continue;
    const TokenId* tail = history.data() + n - length;
    for (std::size_t begin = n - length; begin-- > 0;) {
      const TokenId* place = history.data() + begin;
      if (!std::equal(place, place + length, tail)) continue;
      const std::size_t count = (std::min)(most, n - begin - length);
      return std::vector<TokenId>(place + length, place + length + count);
    }
  }
  return {};
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_GENERATE_LOOK_UP_HPP_
