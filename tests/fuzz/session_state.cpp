// Saved sessions, which are then gone on with. The checksum, which no chance would hit, is put behind them.
#include <string>

#include "fuzz/target.hpp"
#include "generate/tiny_session.hpp"
#include "temp_folder.hpp"

void fuzz(gemma::Bytes bytes) {
  static gemma::Session session(tiny(), options_of(48));
  static const TempFolder folder;
  folder.write("state", with_checksum(std::string(bytes.begin(), bytes.end())));
  if (!session.try_restore(folder.path("state")).ok()) return;
  if (session.position() < session.context()) (void)session.try_generate("", {}, greedy(1)).ok();
}
