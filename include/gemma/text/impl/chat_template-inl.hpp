// Bodies of chat_template.hpp.
#ifndef GEMMA_TEXT_IMPL_CHAT_TEMPLATE_INL_HPP_
#define GEMMA_TEXT_IMPL_CHAT_TEMPLATE_INL_HPP_

#include <algorithm>
#include <iterator>

#include "gemma/formats/metadata.hpp"
#include "gemma/text/chat_template.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

/// Calls text(part) for every text that a Jinja template may write: what stands outside its tags, and
/// the string literals within, but for those handed to raise_exception(). Comments are passed over.
template <class F>
void for_each_text(std::string_view jinja, const F& text) {
  std::size_t at = 0;
  while (at < jinja.size()) {
    std::size_t tag = jinja.find('{', at);
    const auto kind_at = [&](std::size_t i) { return i + 1 < jinja.size() ? jinja[i + 1] : '\0'; };
    while (tag < jinja.size() && std::string_view("{%#").find(kind_at(tag)) > 2) {
      tag = jinja.find('{', tag + 1);
    }
    text(jinja.substr(at, tag - at));
    if (tag >= jinja.size()) return;
    const char kind = kind_at(tag);
    const char closing[] = {kind == '{' ? '}' : kind, '}', '\0'};
    at = tag + 2;
    while (at < jinja.size() && jinja.substr(at, 2) != closing) {
      const char quote = jinja[at];
      if (kind == '#' || (quote != '\'' && quote != '"')) {
        ++at;
        continue;
      }
      const std::size_t begin = ++at;
      while (at < jinja.size() && jinja[at] != quote) at += jinja[at] == '\\' ? 2u : 1u;
      at = (std::min)(at, jinja.size());
      constexpr std::string_view kRaise = "raise_exception(";
      const std::string_view before = jinja.substr(0, begin - 1);
      const bool raised = before.size() >= kRaise.size() &&
                          before.substr(before.size() - kRaise.size()) == kRaise;
      if (!raised) text(jinja.substr(begin, at - begin));
      ++at;
    }
    at = (std::min)(at + 2, jinja.size());
  }
}

/// The first <marker> of a text from `at` on: letters, digits, _ | / and " between < and >; empty if
/// there is none.
inline std::string_view find_marker(std::string_view text, std::size_t at) {
  constexpr std::string_view kInner =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_|/\"";
  for (at = text.find('<', at); at < text.size(); at = text.find('<', at + 1)) {
    const std::size_t end = text.find_first_not_of(kInner, at + 1);
    if (end < text.size() && end > at + 1 && text[end] == '>') return text.substr(at, end + 1 - at);
  }
  return {};
}

/// Whether a text has three words of letters in a row, with spaces between.
inline bool has_sentence(std::string_view text) {
  const auto letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '\'' || (c & 0x80) != 0;
  };
  int words = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (!letter(text[i])) continue;
    const bool follows = i > 1 && text[i - 1] == ' ' && (letter(text[i - 2]) || text[i - 2] == ',');
    words = follows ? words + 1 : 1;
    if (words == 3) return true;
    while (i + 1 < text.size() && letter(text[i + 1])) ++i;
  }
  return false;
}

}  // namespace detail

GEMMA_INLINE std::string unknown_template_reason(std::string_view jinja, ChatFormat format) {
  constexpr std::string_view kUsual[] = {"<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>",
                                         "<start_of_image>", "<start_of_audio>",
                                         "<image_soft_token>", "<audio_soft_token>"};
  constexpr std::string_view kFourth[] = {
      "<bos>", "<eos>", "<|turn>", "<turn|>", "<|think|>", "<|channel>", "<channel|>", "<|tool>",
      "<tool|>", "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>", "<|\"|>",
      "<|image|>", "<|audio|>", "<|video|>", "<|image>", "<image|>", "<|audio>", "<audio|>"};
  const bool fourth = format == ChatFormat::gemma4;
  const auto known = [&](std::string_view marker) {
    return fourth ? std::find(std::begin(kFourth), std::end(kFourth), marker) != std::end(kFourth)
                  : std::find(std::begin(kUsual), std::end(kUsual), marker) != std::end(kUsual);
  };
  const std::string_view open = fourth ? "<|turn>" : "<start_of_turn>";
  const std::string_view close = fourth ? "<turn|>" : "<end_of_turn>";
  bool opens = false, closes = false, names_model = false;
  std::string reason;
  detail::for_each_text(jinja, [&](std::string_view text) {
    opens = opens || text.find(open) != std::string_view::npos;
    closes = closes || text.find(close) != std::string_view::npos;
    names_model = names_model || text.find("model") != std::string_view::npos;
    std::size_t at = 0;
    for (;;) {
      const std::string_view marker = detail::find_marker(text, at);
      if (marker.empty()) break;
      at = static_cast<std::size_t>(marker.data() - text.data()) + 1;
      if (!known(marker) && reason.empty()) reason = "it writes '" + gguf::printable(marker) + "'";
    }
    if (reason.empty() && detail::has_sentence(text)) {
      constexpr std::size_t kLongest = 60;
      const std::size_t begin = (std::min)(text.find_first_not_of(" \n"), text.size());
      reason = "it writes '" + gguf::printable(text.substr(begin, kLongest)) + "'";
    }
  });
  if (!reason.empty()) return reason;
  const auto lacks = [](std::string_view what) {
    return "it does not write '" + std::string(what) + "'";
  };
  if (!opens) return lacks(open);
  if (!closes) return lacks(close);
  if (!names_model) return lacks("model");
  const bool no_system = jinja.find("System role not supported") != std::string_view::npos;
  if (format == ChatFormat::gemma1 && !no_system) return "it allows a system role";
  if (format == ChatFormat::gemma3 && no_system) return "it allows no system role";
  return {};
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_TEXT_IMPL_CHAT_TEMPLATE_INL_HPP_
