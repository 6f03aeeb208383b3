// Bodies of output_file.hpp.
#ifndef GEMMA_BASE_IMPL_OUTPUT_FILE_INL_HPP_
#define GEMMA_BASE_IMPL_OUTPUT_FILE_INL_HPP_

#include <cerrno>

#include "gemma/base/file.hpp"
#include "gemma/base/output_file.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

inline std::string part_path(const std::string& path) { return path + ".part"; }

}  // namespace detail

GEMMA_INLINE Result<OutputFile> OutputFile::create(const std::string& path) {
  if (path_kind(path) == PathKind::folder) {
    return detail::file_error(path, "is a folder; give the name of a file to write");
  }
  std::FILE* file = detail::open_for_writing(detail::part_path(path));
  if (file == nullptr) return detail::system_error(path, "cannot write", errno);
  return OutputFile(path, file);
}

GEMMA_INLINE OutputFile::~OutputFile() {
  if (file_ == nullptr) return;
  file_.reset();
  detail::remove_file(detail::part_path(path_));
}

GEMMA_INLINE Status OutputFile::write(Bytes bytes) {
  if (std::fwrite(bytes.data(), 1, bytes.size(), file_.get()) != bytes.size()) {
    return detail::system_error(path_, "cannot write at offset " + std::to_string(size_), errno);
  }
  size_ += bytes.size();
  return {};
}

GEMMA_INLINE Status OutputFile::commit() {
  const std::string part = detail::part_path(path_);
  // What fclose() still has to write may not fit the disk.
  if (std::fclose(file_.release()) != 0) {
    const Error error = detail::system_error(path_, "cannot write", errno);
    detail::remove_file(part);
    return error;
  }
  const int code = detail::rename_file(part, path_);
  if (code == 0) return {};
  detail::remove_file(part);
  return detail::system_error(path_, "cannot rename " + part + " to it", code);
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_BASE_IMPL_OUTPUT_FILE_INL_HPP_
