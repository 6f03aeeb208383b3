// Saved sessions, which are then gone on with. The checksum, which no chance would hit, is put behind them.
#include <string>

#include "fuzz/target.hpp"
#include "gemma/base/bytes.hpp"
#include "gemma/base/hash.hpp"
#include "generate/tiny_session.hpp"
#include "temp_folder.hpp"

void fuzz(gemma::Bytes bytes) {
  static gemma::Session session(tiny(), options_of(48));
  static const TempFolder folder;
  gemma::Hash hash;
  hash.add(bytes);
  const std::uint64_t checksum = hash.value();
  folder.write("state", std::string(bytes.begin(), bytes.end()) +
                            std::string(reinterpret_cast<const char*>(&checksum), sizeof checksum));
  if (!session.try_restore(folder.path("state")).ok()) return;
  if (session.position() < session.context()) (void)session.try_generate("", {}, greedy(1)).ok();
}
