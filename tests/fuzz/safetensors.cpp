// Heads of safetensors files.
#include "fuzz/target.hpp"
#include "gemma/formats/safetensors.hpp"

void fuzz(gemma::Bytes bytes) { (void)gemma::safetensors::read_header(bytes, "fuzz").ok(); }
