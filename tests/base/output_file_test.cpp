#include "gemma/base/output_file.hpp"

#include <doctest/doctest.h>

#include <string>
#include <utility>

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

#if defined(__linux__)
TEST_CASE("a full disk is an error, and leaves nothing behind") {
  const TempFolder folder;
  std::filesystem::create_symlink("/dev/full", folder.path("out.part"));
  {
    OutputFile file = OutputFile::create(folder.path("out")).value();
    // Small writes are found out only when the buffer is written.
    REQUIRE(file.write(bytes_of("text")).ok());
    const gemma::Status status = file.commit();
    REQUIRE_FALSE(status.ok());
    CHECK(status.error().message().find("cannot write") != std::string::npos);
  }
  CHECK_FALSE(folder.holds("out"));
  CHECK_FALSE(std::filesystem::is_symlink(folder.path("out.part")));
  std::filesystem::create_symlink("/dev/full", folder.path("out.part"));
  OutputFile file = OutputFile::create(folder.path("out")).value();
  CHECK_FALSE(file.write(bytes_of(std::string(1 << 20, 'x'))).ok());
}
#endif
