// Files that MediaPipe's converters wrote, and small ones in the same layout, where this machine has
// them: in the folder GEMMA_TEST_MEDIAPIPE names, or beside the sources in ../shared/mediapipe.
#ifndef GEMMA_TESTS_MEDIAPIPE_SAMPLES_HPP_
#define GEMMA_TESTS_MEDIAPIPE_SAMPLES_HPP_

#include <doctest/doctest.h>

#include <cstdlib>
#include <string>

#include "test_data.hpp"

/// The folder, with a slash; empty, with a word, if `needed` is not in it.
inline std::string mediapipe_samples(const std::string& needed) {
  const char* variable = std::getenv("GEMMA_TEST_MEDIAPIPE");
  const std::string folder =
      (variable != nullptr ? variable : std::string(GEMMA_SOURCE_DIR) + "/../shared/mediapipe") + "/";
  if (file_exists(folder + needed)) return folder;
  MESSAGE("skipped: samples of MediaPipe's files are not on this machine");
  return {};
}

#endif  // GEMMA_TESTS_MEDIAPIPE_SAMPLES_HPP_
