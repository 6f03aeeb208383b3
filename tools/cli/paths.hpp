// Names of files.
#pragma once

#include <filesystem>
#include <string>

namespace cli {

/// A path that is given in UTF-8, as the command takes its arguments on every system.
inline std::filesystem::path file_path(const std::string& utf8) {
#if defined(__cpp_char8_t)  // C++20, which deprecates the other way
  return std::filesystem::path(std::u8string(utf8.begin(), utf8.end()));
#else
  return std::filesystem::u8path(utf8);
#endif
}

}  // namespace cli
