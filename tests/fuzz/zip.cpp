// Zip archives, and what is deflated in them.
#include "fuzz/target.hpp"
#include "gemma/formats/zip.hpp"

void fuzz(gemma::Bytes bytes) {
  const auto entries = gemma::zip::read_entries(bytes, "fuzz");
  if (!entries.ok()) return;
  for (const gemma::zip::Entry& entry : *entries) {
    touch(entry.data);
    if (entry.method != 0) (void)gemma::zip::unpack(entry, "fuzz").ok();
  }
}
