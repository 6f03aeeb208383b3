#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>
#include <utility>

#include "../../tools/cli/paths.hpp"
#include "gemma/base/file.hpp"
#include "test_data.hpp"

#if !defined(_WIN32)
#include <sys/stat.h>
#include <unistd.h>
#endif

using namespace gemma;

namespace {

/// A file in the current folder that is gone after the test. Its name is UTF-8.
class TemporaryFile {
 public:
  TemporaryFile(std::string name, const std::string& content) : path_(std::move(name)) {
    std::ofstream(cli::file_path(path_), std::ios::binary) << content;
  }
  ~TemporaryFile() { std::filesystem::remove(cli::file_path(path_)); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string text_of(const MappedFile& file) {
  return std::string(file.bytes().begin(), file.bytes().end());
}

}  // namespace

TEST_CASE("a file is mapped with all its bytes") {
  const TemporaryFile source("file_test_mapped.tmp", std::string("one\0two\n", 8));
  const auto file = MappedFile::open(source.path());
  REQUIRE_MESSAGE(file.ok(), file.error().message());
  CHECK(text_of(*file) == std::string("one\0two\n", 8));
  CHECK(file->path() == source.path());
  CHECK(file->is_mapped());
  CHECK(reinterpret_cast<std::uintptr_t>(file->bytes().data()) % 64 == 0);
}

TEST_CASE("a file can be read into memory instead") {
  const TemporaryFile source("file_test_read.tmp", std::string(100000, 'y'));
  auto opened = MappedFile::open(source.path(), gemma::FileAccess::memory);
  REQUIRE_MESSAGE(opened.ok(), opened.error().message());
  const MappedFile file = *std::move(opened);
  CHECK_FALSE(file.is_mapped());
  CHECK(reinterpret_cast<std::uintptr_t>(file.bytes().data()) % 64 == 0);
  CHECK(text_of(file) == std::string(100000, 'y'));
  file.advise_willneed(0, 100);
  file.advise_dontneed(0, 100000);
  CHECK(text_of(file) == std::string(100000, 'y'));
  CHECK_FALSE(MappedFile::open("no/such/file", gemma::FileAccess::memory).ok());
}

TEST_CASE("a large file is the same bytes however it is opened") {
  std::string text(40u << 20, ' ');
  for (std::size_t i = 0; i < text.size(); i += 4093) text[i] = static_cast<char>('a' + i % 23);
  const TemporaryFile source("file_test_large.tmp", text);
  for (const auto access : {gemma::FileAccess::map, gemma::FileAccess::memory,
                            gemma::FileAccess::fastest}) {
    const auto file = MappedFile::open(source.path(), access);
    REQUIRE_MESSAGE(file.ok(), file.error().message());
    CHECK(std::equal(text.begin(), text.end(), file->bytes().begin(), file->bytes().end(),
                     [](char a, std::uint8_t b) { return static_cast<std::uint8_t>(a) == b; }));
  }
}

TEST_CASE("a file above 512 MiB is copied only if that is asked for") {
  const TemporaryFile source("file_test_above.tmp", "x");
  std::error_code error;  // a file without content takes no room on most disks
  std::filesystem::resize_file(cli::file_path(source.path()), (std::uintmax_t{512} << 20) + 1, error);
  if (error) {
    MESSAGE("skipped: no room for a file of 512 MiB: " << error.message());
    return;
  }
  const auto file = MappedFile::open(source.path(), gemma::FileAccess::fastest);
  REQUIRE_MESSAGE(file.ok(), file.error().message());
  CHECK(file->is_mapped());
}

TEST_CASE("views stay valid when the file object moves") {
  const TemporaryFile source("file_test_moved.tmp", "content");
  auto opened = MappedFile::open(source.path());
  REQUIRE(opened.ok());
  const Bytes view = opened->bytes();
  const MappedFile first = *std::move(opened);
  CHECK(first.bytes().data() == view.data());
  CHECK(text_of(first) == "content");
  auto other = MappedFile::open(source.path());
  REQUIRE(other.ok());
  MappedFile target = *std::move(other);
  target = *MappedFile::open(source.path());
  CHECK(text_of(target) == "content");
}

TEST_CASE("reading ahead may be asked for anywhere") {
  const TemporaryFile source("file_test_advise.tmp", std::string(10000, 'x'));
  const auto file = MappedFile::open(source.path());
  REQUIRE(file.ok());
  file->advise_willneed(0, 10000);
  file->advise_willneed(5000, ~std::size_t{0});
  file->advise_willneed(20000, 1);
  file->advise_dontneed(0, 10000);
  file->advise_dontneed(9999, ~std::size_t{0});
  file->advise_dontneed(20000, 1);
  file->advise_dontneed(file->bytes());
  const std::string other = "not of the file";
  file->advise_dontneed(gemma::Bytes(reinterpret_cast<const std::uint8_t*>(other.data()), other.size()));
  CHECK(other == "not of the file");
  CHECK(text_of(*file) == std::string(10000, 'x'));
}

TEST_CASE("a path in UTF-8 is found") {
  const TemporaryFile source("file_test_\xC3\xA9\xE4\xBD\xA0.tmp", "x");
  CHECK(MappedFile::open(source.path()).ok());
}

TEST_CASE("a file that is not there is an error that names it") {
  const auto file = MappedFile::open("no/such/file.gguf");
  REQUIRE_FALSE(file.ok());
  CHECK(file.error().code() == ErrorCode::io);
  CHECK(contains(file.error().message(), "no/such/file.gguf: cannot open: "));
  CHECK_FALSE(MappedFile::open("").ok());
}

TEST_CASE("a folder is refused") {
  const auto file = MappedFile::open(data_path(""));
  REQUIRE_FALSE(file.ok());
  CHECK(contains(file.error().message(), "is a folder, expected a file"));
}

TEST_CASE("an empty file is refused") {
  const TemporaryFile source("file_test_empty.tmp", "");
  const auto file = MappedFile::open(source.path());
  REQUIRE_FALSE(file.ok());
  CHECK(contains(file.error().message(), "the file is empty; is the download complete?"));
}

#if !defined(_WIN32)
TEST_CASE("a device and a pipe are refused, and neither is waited for") {
  CHECK(contains(MappedFile::open("/dev/null").error().message(), "is a device or pipe"));
  const char* pipe = "file_test_pipe.tmp";
  REQUIRE(mkfifo(pipe, 0600) == 0);
  CHECK(contains(MappedFile::open(pipe).error().message(), "is a device or pipe"));
  std::remove(pipe);
}

TEST_CASE("a file without permission is refused with the system's reason") {
  const TemporaryFile source("file_test_secret.tmp", "x");
  REQUIRE(chmod(source.path().c_str(), 0) == 0);
  // The superuser may read everything, so be somebody else for a moment.
  const bool superuser = geteuid() == 0;
  if (superuser && seteuid(65534) != 0) {
    MESSAGE("skipped: the superuser may read everything");
    return;
  }
  const auto file = MappedFile::open(source.path());
  if (superuser) REQUIRE(seteuid(0) == 0);
  REQUIRE_FALSE(file.ok());
  CHECK(contains(file.error().message(), "file_test_secret.tmp: cannot open: Permission denied"));
}
#endif
