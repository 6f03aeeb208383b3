// Bodies of output_file.hpp.
#ifndef GEMMA_BASE_IMPL_OUTPUT_FILE_INL_HPP_
#define GEMMA_BASE_IMPL_OUTPUT_FILE_INL_HPP_

#include <cerrno>

#include "gemma/base/file.hpp"
#include "gemma/base/output_file.hpp"

GEMMA_NAMESPACE_BEGIN

GEMMA_INLINE Result<OutputFile> OutputFile::create(const std::string& path) {
  if (path.empty()) {
    return Error(ErrorCode::invalid_argument, "the name of the file to write is empty");
  }
  const PathKind kind = path_kind(path);
  if (kind == PathKind::folder || kind == PathKind::other) {
    return detail::file_error(path, kind == PathKind::folder
                                        ? "is a folder; give the name of a file to write"
                                        : "is a device or pipe; give the name of a file to write");
  }
  // What another program writes, or left when it was killed, is not ours to replace.
  constexpr int kMostParts = 100;
  for (int i = 1; i <= kMostParts; ++i) {
    std::string part = path + ".part" + (i == 1 ? "" : std::to_string(i));
    std::FILE* file = detail::open_new_file(part);
    if (file != nullptr) return OutputFile(path, std::move(part), file);
    if (errno != EEXIST) break;
  }
  return detail::errno_error(path, "cannot write", errno);
}

GEMMA_INLINE OutputFile::~OutputFile() {
  if (file_ == nullptr) return;
  file_.reset();
  detail::remove_file(part_);
}

GEMMA_INLINE Status OutputFile::write(Bytes bytes) {
  if (std::fwrite(bytes.data(), 1, bytes.size(), file_.get()) != bytes.size()) {
    return detail::errno_error(path_, "cannot write at offset " + std::to_string(size_), errno);
  }
  size_ += bytes.size();
  return {};
}

GEMMA_INLINE Status OutputFile::commit() {
  // What fclose() still has to write may not fit the disk.
  if (std::fclose(file_.release()) != 0) {
    const Error error = detail::errno_error(path_, "cannot write", errno);
    detail::remove_file(part_);
    return error;
  }
  const int code = detail::rename_file(part_, path_);
  if (code == 0) return {};
  detail::remove_file(part_);
  return detail::system_error(path_, "cannot rename " + part_ + " to it", code);
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_BASE_IMPL_OUTPUT_FILE_INL_HPP_
