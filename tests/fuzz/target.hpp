// What the targets of libFuzzer have in common: each defines fuzz(), which must survive any bytes.
// tools/fuzz builds and runs them.
#ifndef GEMMA_TESTS_FUZZ_TARGET_HPP_
#define GEMMA_TESTS_FUZZ_TARGET_HPP_

#include <cstddef>
#include <cstdint>

#include "gemma/base/error.hpp"
#include "gemma/base/span.hpp"
#include "gemma/model/low_rank.hpp"

/// The reader under test.
void fuzz(gemma::Bytes bytes);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz(gemma::Bytes(data, size));
  return 0;
}

/// Reads the ends of a view, so that the address sanitizer sees where they are.
inline void touch(gemma::Bytes bytes) {
  if (bytes.empty()) return;
  volatile std::uint8_t sink = bytes[0];
  sink = bytes.back();
  (void)sink;
}

/// All that a model's source offers, as loading it would use it.
template <class Source>
void touch(const Source& source) {
  (void)source.stop_ids();
  (void)source.chat_template();
  (void)source.read_vocabulary().ok();
  for (const auto& tensor : source.tensors()) touch(tensor.data);
  const auto config = source.read_config();
  if (config.ok()) (void)bind_weights(source, *config).ok();
}

/// An adapter, if it was read, as a session would use it.
template <class Adapter, class Model>
void use(const gemma::Result<Adapter>& adapter, const Model& model) {
  if (!adapter.ok()) return;
  (void)adapter->fingerprint();
  gemma::LowRankTable table;
  (void)adapter->add_to(model.weights(), 0.5f, table).ok();
}

#endif  // GEMMA_TESTS_FUZZ_TARGET_HPP_
