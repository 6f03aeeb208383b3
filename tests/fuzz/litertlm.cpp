// LiteRT-LM's containers, and the metadata in them.
#include "fuzz/target.hpp"
#include "gemma/formats/litertlm.hpp"
#include "gemma/formats/llm_parameters.hpp"

void fuzz(gemma::Bytes bytes) {
  (void)gemma::mediapipe::read_llm_metadata(bytes, "fuzz").ok();
  (void)gemma::mediapipe::read_llm_parameters(bytes, "fuzz").ok();
  const auto sections = gemma::litertlm::read_sections(bytes, "fuzz");
  if (!sections.ok()) return;
  for (const gemma::litertlm::Section& section : *sections) touch(section.data);
}
