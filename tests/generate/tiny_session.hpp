// What tests of sessions on the tiny model have in common.
#ifndef GEMMA_TESTS_GENERATE_TINY_SESSION_HPP_
#define GEMMA_TESTS_GENERATE_TINY_SESSION_HPP_

#include <cstddef>
#include <cstdint>
#include <string>

#include "gemma/base/bytes.hpp"
#include "gemma/base/hash.hpp"
#include "gemma/generate/session.hpp"
#include "test_data.hpp"

inline gemma::Model tiny() { return gemma::load(data_path("tiny-gemma3.gguf")); }

inline gemma::SessionOptions options_of(std::size_t context) {
  gemma::SessionOptions options;
  options.context = context;
  options.threads = 2;
  return options;
}

inline gemma::GenerateOptions greedy(std::size_t max_tokens) {
  gemma::GenerateOptions options;
  options.max_tokens = max_tokens;
  options.sampler.temperature = 0.0f;
  options.ignore_eos = true;
  return options;
}

/// A saved session with the checksum of what is before it, as whoever forges one would write it.
inline std::string with_checksum(const std::string& state) {
  gemma::Hash hash;
  hash.add(gemma::bytes_of(state));
  const std::uint64_t checksum = hash.value();
  return state + std::string(reinterpret_cast<const char*>(&checksum), sizeof checksum);
}

#endif  // GEMMA_TESTS_GENERATE_TINY_SESSION_HPP_
