// Deflate streams: of a promised size, which the first two bytes are, and of zlib.
#include "fuzz/target.hpp"
#include "gemma/formats/inflate.hpp"

void fuzz(gemma::Bytes bytes) {
  if (bytes.size() < 2) return;
  const std::uint64_t size = bytes[0] + std::uint64_t{256} * bytes[1];
  (void)gemma::inflate(bytes.subspan(2), size, "fuzz").ok();
  (void)gemma::inflate_zlib(bytes.subspan(2), size, "fuzz").ok();
}
