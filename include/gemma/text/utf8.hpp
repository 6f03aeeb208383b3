// UTF-8, as far as a tokenizer needs it. Source: RFC 3629.
#ifndef GEMMA_TEXT_UTF8_HPP_
#define GEMMA_TEXT_UTF8_HPP_

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "gemma/config.hpp"

GEMMA_NAMESPACE_BEGIN

/// Bytes that a character beginning with this byte has; 0 if none begins so.
inline std::size_t utf8_length(std::uint8_t lead) {
  if (lead < 0x80) return 1;
  if (lead < 0xC2) return 0;
  if (lead < 0xE0) return 2;
  if (lead < 0xF0) return 3;
  return lead < 0xF5 ? 4 : 0;
}

/// Whether `byte` may be the index-th byte of a character that begins with `lead`: no overlong
/// forms, no surrogates, nothing above U+10FFFF.
inline bool utf8_continues(std::uint8_t lead, std::size_t index, std::uint8_t byte) {
  if ((byte & 0xC0) != 0x80) return false;
  if (index != 1) return true;
  if (lead == 0xE0) return byte >= 0xA0;
  if (lead == 0xED) return byte < 0xA0;
  if (lead == 0xF0) return byte >= 0x90;
  if (lead == 0xF4) return byte < 0x90;
  return true;
}

/// Length of the character at the beginning of `text`; 0 if its first byte begins none.
inline std::size_t utf8_character(std::string_view text) {
  const auto at = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::size_t length = text.empty() ? 0 : utf8_length(at(0));
  if (length > text.size()) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if (!utf8_continues(at(0), i, at(i))) return 0;
  }
  return length;
}

/// How many bytes at the end of `text` begin a character that further bytes could complete.
inline std::size_t utf8_incomplete_tail(std::string_view text) {
  for (std::size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    const auto at = [&](std::size_t i) {
      return static_cast<std::uint8_t>(text[text.size() - back + i]);
    };
    if ((at(0) & 0xC0) == 0x80) continue;
    if (utf8_length(at(0)) <= back) return 0;
    for (std::size_t i = 1; i < back; ++i) {
      if (!utf8_continues(at(0), i, at(i))) return 0;
    }
    return back;
  }
  return 0;
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_TEXT_UTF8_HPP_
