// A file that is written from begin to end, and is seen under its name only once it is whole.
#ifndef GEMMA_BASE_OUTPUT_FILE_HPP_
#define GEMMA_BASE_OUTPUT_FILE_HPP_

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "gemma/base/error.hpp"
#include "gemma/base/span.hpp"

GEMMA_NAMESPACE_BEGIN

/// Writes to a new file beside the path, PATH.part or PATH.part2 …; commit() gives it its name. Without
/// commit() nothing is left behind, and a file that was there before stays as it was.
class OutputFile {
 public:
  /// `path` is UTF-8, on Windows too.
  static Result<OutputFile> create(const std::string& path);

  /// The moved-from object has no file: it may only be destroyed.
  OutputFile(OutputFile&&) = default;
  OutputFile& operator=(OutputFile&&) = delete;
  ~OutputFile();

  /// Appends. An error if the disk is full or fails; the file is of no use then.
  Status write(Bytes bytes);
  /// Moves the file to its path, over what was there; called once, as the last. After an error
  /// the path is as it was, and the part is removed.
  Status commit();
  /// Bytes written so far.
  std::uint64_t size() const { return size_; }

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  OutputFile(std::string path, std::string part, std::FILE* file)
      : path_(std::move(path)), part_(std::move(part)), file_(file) {}

  std::string path_;
  std::string part_;
  std::unique_ptr<std::FILE, Close> file_;  ///< null once committed, or moved from
  std::uint64_t size_ = 0;
};

GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/base/impl/output_file-inl.hpp"
#endif

#endif  // GEMMA_BASE_OUTPUT_FILE_HPP_
