// .task bundles and .litertlm files, up to the model that they hold.
#include "fuzz/target.hpp"
#include "gemma/generate/bind_weights.hpp"
#include "gemma/generate/mediapipe_bundle.hpp"

void fuzz(gemma::Bytes bytes) {
  const auto source = gemma::mediapipe::open_bundle(bytes, "fuzz", nullptr);
  if (source.ok()) touch(**source);
}
