// Bodies of file.hpp. What differs between systems is detail::SystemFile.
#ifndef GEMMA_BASE_IMPL_FILE_INL_HPP_
#define GEMMA_BASE_IMPL_FILE_INL_HPP_

#include <algorithm>
#include <limits>
#include <new>
#include <utility>

#include "gemma/base/file.hpp"
#include "gemma/base/impl/file_error-inl.hpp"
#if defined(_WIN32)
#include "gemma/base/impl/file_windows-inl.hpp"
#else
#include "gemma/base/impl/file_posix-inl.hpp"
#endif

GEMMA_NAMESPACE_BEGIN
namespace detail {

/// Alignment of the memory for files that cannot be mapped.
inline constexpr std::align_val_t kFileAlignment{64};

}  // namespace detail

GEMMA_INLINE PathKind path_kind(const std::string& path) {
  return detail::SystemFile::kind(path);
}

GEMMA_INLINE bool same_file(const std::string& a, const std::string& b) {
  return detail::SystemFile::same(a, b);
}

GEMMA_INLINE void MappedFile::Release::operator()(const std::uint8_t* data) const {
  if (mapped) {
    detail::SystemFile::unmap(data, size);
  } else {
    ::operator delete(const_cast<std::uint8_t*>(data), detail::kFileAlignment);
  }
}

GEMMA_INLINE Result<MappedFile> MappedFile::load(const std::string& path, bool map) {
  detail::SystemFile file(path);
  GEMMA_TRY(file.open());
  GEMMA_TRY_ASSIGN(const std::uint64_t bytes, file.size());
  if (bytes == 0) return detail::file_error(path, "the file is empty; is the download complete?");
  if (bytes > (std::numeric_limits<std::size_t>::max)() / 2) {
    return detail::file_error(path, "the file has " + std::to_string(bytes) +
                                        " bytes, more than this program can address");
  }
  const auto size = static_cast<std::size_t>(bytes);
  if (const std::uint8_t* mapped = map ? file.map(size) : nullptr) {
    return MappedFile(path, Data(mapped, Release{size, true}), size);
  }
  void* memory = ::operator new(size, detail::kFileAlignment, std::nothrow);
  if (memory == nullptr) {
    return Error(ErrorCode::out_of_memory,
                 path + ": no memory for its " + std::to_string(size) + " bytes");
  }
  auto* data = static_cast<std::uint8_t*>(memory);
  MappedFile result(path, Data(data, Release{size, false}), size);
  GEMMA_TRY(file.read(data, size));
  return result;
}

GEMMA_INLINE Result<MappedFile> MappedFile::open(const std::string& path) {
  return load(path, true);
}

GEMMA_INLINE Result<MappedFile> MappedFile::read(const std::string& path) {
  return load(path, false);
}

GEMMA_INLINE void MappedFile::advise_willneed(std::size_t offset, std::size_t length) const {
  if (!is_mapped() || offset >= size_) return;
  detail::SystemFile::will_need(data_.get() + offset, (std::min)(length, size_ - offset));
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_BASE_IMPL_FILE_INL_HPP_
