// Where the tests find their data: the files in tests/data, and the real model if it was downloaded.
#ifndef GEMMA_TESTS_TEST_DATA_HPP_
#define GEMMA_TESTS_TEST_DATA_HPP_

#include <cstdlib>
#include <fstream>
#include <string>

/// The path of a file in tests/data.
inline std::string data_path(const std::string& name) {
  return std::string(GEMMA_TEST_DATA) + "/" + name;
}

inline bool file_exists(const std::string& path) {
  return std::ifstream(path, std::ios::binary).good();
}

/// The real Gemma 3 270M: the file GEMMA_TEST_MODEL names, or the one tools/get_model put into the
/// user's cache. Empty if there is none; a test then says MESSAGE("skipped: ...") and returns.
inline std::string real_model_path() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value != nullptr ? value : "");
  };
  std::string path = variable("GEMMA_TEST_MODEL");
  if (path.empty()) {
    std::string cache = variable("XDG_CACHE_HOME");
    if (cache.empty()) cache = variable("HOME") + "/.cache";
    path = cache + "/gemma.hpp/gemma-3-270m-q4_k_m.gguf";
  }
  return file_exists(path) ? path : std::string();
}

#endif  // GEMMA_TESTS_TEST_DATA_HPP_
