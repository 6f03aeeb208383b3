#include "gemma/base/output_file.hpp"

#include <doctest/doctest.h>

#include <string>
#include <utility>

#if defined(__unix__)
#include <sys/resource.h>

#include <csignal>
#endif

#include "temp_folder.hpp"

namespace {

using gemma::OutputFile;

gemma::Bytes bytes_of(const std::string& text) {
  return gemma::Bytes(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
}

}  // namespace

TEST_CASE("a file appears under its name when it is committed, and not before") {
  const TempFolder folder;
  OutputFile file = OutputFile::create(folder.path("out")).value();
  REQUIRE(file.write(bytes_of("one ")).ok());
  REQUIRE(file.write(bytes_of("two")).ok());
  CHECK(file.size() == 7);
  CHECK_FALSE(folder.holds("out"));
  REQUIRE(file.commit().ok());
  CHECK(file_text(folder.path("out")) == "one two");
  CHECK_FALSE(folder.holds("out.part"));
}

TEST_CASE("without a commit nothing is left, and what was there stays") {
  const TempFolder folder;
  folder.write("out", "before");
  {
    OutputFile first = OutputFile::create(folder.path("out")).value();
    OutputFile file = std::move(first);
    REQUIRE(file.write(bytes_of("after")).ok());
  }
  CHECK(file_text(folder.path("out")) == "before");
  CHECK_FALSE(folder.holds("out.part"));
}

TEST_CASE("a commit replaces what was there") {
  const TempFolder folder;
  folder.write("out", "a longer text than the next");
  OutputFile file = OutputFile::create(folder.path("out")).value();
  REQUIRE(file.write(bytes_of("new")).ok());
  REQUIRE(file.commit().ok());
  CHECK(file_text(folder.path("out")) == "new");
}

TEST_CASE("what cannot be written is an error that names the path") {
  const TempFolder folder;
  const auto missing = OutputFile::create(folder.path("no/such/out"));
  REQUIRE_FALSE(missing.ok());
  CHECK(missing.error().message().find(folder.path("no/such/out")) == 0);
  const auto taken = OutputFile::create(folder.path());
  REQUIRE_FALSE(taken.ok());
  CHECK(taken.error().message().find("is a folder") != std::string::npos);
}

TEST_CASE("a file of another program beside it is left alone") {
  const TempFolder folder;
  folder.write("out.part", "half a download");
  OutputFile file = OutputFile::create(folder.path("out")).value();
  REQUIRE(file.write(bytes_of("ours")).ok());
  REQUIRE(file.commit().ok());
  CHECK(file_text(folder.path("out")) == "ours");
  CHECK(file_text(folder.path("out.part")) == "half a download");
  CHECK_FALSE(folder.holds("out.part2"));
}

TEST_CASE("an empty name is refused") {
  const auto file = OutputFile::create("");
  REQUIRE_FALSE(file.ok());
  CHECK(file.error().code() == gemma::ErrorCode::invalid_argument);
}

#if defined(__unix__)
TEST_CASE("devices are never replaced") {
  const auto file = OutputFile::create("/dev/null");
  REQUIRE_FALSE(file.ok());
  CHECK(file.error().message().find("is a device or pipe") != std::string::npos);
}

TEST_CASE("a full disk is an error, and leaves nothing behind") {
  const TempFolder folder;
  // A limit for files fails as a full disk does, once the signal of it is ignored.
  struct rlimit before;
  REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
  const auto old_action = std::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small = {1000, before.rlim_max};
  {
    OutputFile late = OutputFile::create(folder.path("late")).value();
    OutputFile early = OutputFile::create(folder.path("early")).value();
    REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
    // Small writes are found out only when the buffer is written.
    REQUIRE(late.write(bytes_of(std::string(1500, 'x'))).ok());
    const gemma::Status status = late.commit();
    CHECK_FALSE(early.write(bytes_of(std::string(1 << 20, 'x'))).ok());
    REQUIRE(setrlimit(RLIMIT_FSIZE, &before) == 0);
    std::signal(SIGXFSZ, old_action);
    REQUIRE_FALSE(status.ok());
    CHECK(status.error().message().find("cannot write") != std::string::npos);
  }
  for (const char* name : {"late", "late.part", "early", "early.part"}) {
    CHECK_FALSE(folder.holds(name));
  }
}
#endif
