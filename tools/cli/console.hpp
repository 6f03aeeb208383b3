// The only part of the command that knows the operating system: terminals, exact bytes, memory.
#pragma once

#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#if defined(_WIN32)
#include <gemma/base/impl/windows-inl.hpp>

#include <fcntl.h>
#include <io.h>
#include <psapi.h>
#include <shellapi.h>
#else
#include <sys/resource.h>
#include <unistd.h>
#endif

namespace console {

/// Whether standard error is a terminal that can erase lines.
inline bool stderr_is_terminal() {
#if defined(_WIN32)
  const HANDLE handle = GetStdHandle(STD_ERROR_HANDLE);
  DWORD mode = 0;
  return GetConsoleMode(handle, &mode) != 0 &&
         SetConsoleMode(handle, mode | ENABLE_VIRTUAL_TERMINAL_PROCESSING) != 0;
#else
  return isatty(STDERR_FILENO) != 0;
#endif
}

/// While this lives, standard input, output and error carry exactly the bytes given, newlines included,
/// and a terminal shows them as UTF-8.
class Utf8Streams {
 public:
  Utf8Streams() {
#if defined(_WIN32)
    _setmode(_fileno(stdin), _O_BINARY);
    _setmode(_fileno(stdout), _O_BINARY);
    _setmode(_fileno(stderr), _O_BINARY);
    code_page_ = GetConsoleOutputCP();
    SetConsoleOutputCP(CP_UTF8);
#endif
  }
  ~Utf8Streams() {
#if defined(_WIN32)
    if (code_page_ != 0) SetConsoleOutputCP(code_page_);
#endif
  }
  Utf8Streams(const Utf8Streams&) = delete;
  Utf8Streams& operator=(const Utf8Streams&) = delete;

#if defined(_WIN32)
 private:
  unsigned code_page_ = 0;
#endif
};

/// What main() is given, in UTF-8.
inline std::vector<std::string> arguments(int argc, char** argv) {
#if defined(_WIN32)
  int count = 0;
  if (wchar_t** wide = CommandLineToArgvW(GetCommandLineW(), &count)) {
    std::vector<std::string> texts;
    for (int i = 0; i < count; ++i) texts.push_back(gemma::detail::utf8(wide[i]));
    LocalFree(wide);
    return texts;
  }
#endif
  return {argv, argv + argc};
}

/// The keys that end standard input.
inline constexpr const char* kEndKeys =
#if defined(_WIN32)
    "ctrl-Z and Enter";
#else
    "ctrl-D";
#endif

/// A line of standard input, without its end. False at the end of the input.
inline bool read_line(std::string& line) {
#if defined(_WIN32)
  // Read as bytes, a console gives characters of its own code page only.
  const HANDLE handle = GetStdHandle(STD_INPUT_HANDLE);
  DWORD mode = 0;
  if (GetConsoleMode(handle, &mode) != 0) {
    std::wstring wide;
    while (wide.empty() || wide.back() != L'\n') {
      wchar_t part[256];
      DWORD read = 0;
      if (ReadConsoleW(handle, part, 256, &read, nullptr) == 0 || read == 0) return false;
      wide.append(part, read);
    }
    constexpr wchar_t kCtrlZ = 0x1A;
    if (wide.front() == kCtrlZ) return false;
    while (!wide.empty() && (wide.back() == L'\n' || wide.back() == L'\r')) wide.pop_back();
    line = gemma::detail::utf8(wide);
    return true;
  }
#endif
  if (!std::getline(std::cin, line)) return false;
#if defined(_WIN32)
  if (!line.empty() && line.back() == '\r') line.pop_back();
#endif
  return true;
}

/// The most memory the process ever had resident, in MB; 0 where the system does not tell.
inline double peak_memory_mb() {
#if defined(_WIN32)
  PROCESS_MEMORY_COUNTERS counters{};
  if (K32GetProcessMemoryInfo(GetCurrentProcess(), &counters, sizeof counters) == 0) return 0.0;
  return static_cast<double>(counters.PeakWorkingSetSize) / (1024.0 * 1024.0);
#else
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
#if defined(__APPLE__)
  return static_cast<double>(usage.ru_maxrss) / (1024.0 * 1024.0);
#else
  return static_cast<double>(usage.ru_maxrss) / 1024.0;
#endif
#endif
}

}  // namespace console
