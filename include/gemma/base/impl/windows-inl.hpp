// <windows.h>, and its text as UTF-8.
#ifndef GEMMA_BASE_IMPL_WINDOWS_INL_HPP_
#define GEMMA_BASE_IMPL_WINDOWS_INL_HPP_

// Asks for little of it, and leaves no trace of having asked: the program may want more.
#if !defined(NOMINMAX)
#define NOMINMAX
#define GEMMA_UNDEF_NOMINMAX
#endif
#if !defined(WIN32_LEAN_AND_MEAN)
#define WIN32_LEAN_AND_MEAN
#define GEMMA_UNDEF_WIN32_LEAN_AND_MEAN
#endif
#include <windows.h>
#if defined(GEMMA_UNDEF_NOMINMAX)
#undef NOMINMAX
#undef GEMMA_UNDEF_NOMINMAX
#endif
#if defined(GEMMA_UNDEF_WIN32_LEAN_AND_MEAN)
#undef WIN32_LEAN_AND_MEAN
#undef GEMMA_UNDEF_WIN32_LEAN_AND_MEAN
#endif

#include <algorithm>
#include <cstddef>
#include <string>

#include "gemma/config.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

/// A path as UTF-16; empty if it is not valid UTF-8, or too long.
inline std::wstring wide_path(const std::string& path) {
  if (path.size() > 32767) return {};
  const auto bytes = static_cast<int>(path.size());
  const auto convert = [&](wchar_t* out, int room) {
    return MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path.data(), bytes, out, room);
  };
  std::wstring wide(static_cast<std::size_t>((std::max)(convert(nullptr, 0), 0)), L'\0');
  convert(wide.data(), static_cast<int>(wide.size()));
  return wide;
}

/// What does not form characters becomes U+FFFD.
inline std::string utf8(const std::wstring& wide) {
  const auto units = static_cast<int>(wide.size());
  const auto convert = [&](char* out, int room) {
    return WideCharToMultiByte(CP_UTF8, 0, wide.data(), units, out, room, nullptr, nullptr);
  };
  std::string text(static_cast<std::size_t>((std::max)(convert(nullptr, 0), 0)), '\0');
  convert(text.data(), static_cast<int>(text.size()));
  return text;
}

/// What the system says about one of its error numbers.
inline std::string windows_message(DWORD code) {
  wchar_t text[512];
  const DWORD length =
      FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS |
                         FORMAT_MESSAGE_MAX_WIDTH_MASK,
                     nullptr, code, 0, text, static_cast<DWORD>(sizeof text / sizeof *text), nullptr);
  std::wstring message(text, length);
  while (!message.empty() && (message.back() == L' ' || message.back() == L'.')) message.pop_back();
  return message.empty() ? "error " + std::to_string(code) : utf8(message);
}

}  // namespace detail
GEMMA_NAMESPACE_END

#endif  // GEMMA_BASE_IMPL_WINDOWS_INL_HPP_
