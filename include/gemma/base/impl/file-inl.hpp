// Bodies of file.hpp. What differs between systems is detail::SystemFile.
#ifndef GEMMA_BASE_IMPL_FILE_INL_HPP_
#define GEMMA_BASE_IMPL_FILE_INL_HPP_

#include <algorithm>
#include <functional>
#include <limits>
#include <new>
#include <utility>
#include <vector>

#include "gemma/base/file.hpp"
#include "gemma/base/huge_pages.hpp"
#include "gemma/base/impl/file_error-inl.hpp"
#include "gemma/base/threads.hpp"
#if defined(_WIN32)
#include "gemma/base/impl/file_windows-inl.hpp"
#else
#include "gemma/base/impl/file_posix-inl.hpp"
#endif

GEMMA_NAMESPACE_BEGIN
namespace detail {

/// Alignment of the memory for files that are not mapped: huge pages fit.
inline constexpr std::align_val_t kFileAlignment{kHugePage};

/// The largest file that FileAccess::fastest copies. A copy of 253 MB makes decoding 6 % faster and takes
/// 0.03 s, or 0.3 s where a machine must ask its host for memory; one of a gigabyte then takes seconds.
inline constexpr std::size_t kLargestCopy = std::size_t{512} << 20;

/// Reads all of a file, with several threads where it is large.
inline Status read_all(const SystemFile& file, std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kPart = std::size_t{1} << 23;
  constexpr std::size_t kMostThreads = 4;
  const std::size_t parts = (size + kPart - 1) / kPart;
  std::vector<Status> results(parts);
  ThreadPool pool((std::min)({hardware_threads(), kMostThreads, parts}));
  pool.parallel_for(parts, [&](std::size_t part, std::size_t) {
    const std::size_t offset = part * kPart;
    results[part] = file.read(data + offset, offset, (std::min)(kPart, size - offset));
  });
  for (Status& result : results) GEMMA_TRY(std::move(result));
  return {};
}

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

GEMMA_INLINE Result<MappedFile> MappedFile::open(const std::string& path, FileAccess access) {
  detail::SystemFile file(path);
  GEMMA_TRY(file.open());
  GEMMA_TRY_ASSIGN(const std::uint64_t bytes, file.size());
  if (bytes == 0) return detail::file_error(path, "the file is empty; is the download complete?");
  if (bytes > (std::numeric_limits<std::size_t>::max)() / 2) {
    return detail::file_error(path, "the file has " + std::to_string(bytes) +
                                        " bytes, more than this program can address");
  }
  const auto size = static_cast<std::size_t>(bytes);
  if (const std::uint8_t* mapped = access != FileAccess::memory ? file.map(size) : nullptr) {
    MappedFile result(path, Data(mapped, Release{size, true}), size);
    if (access == FileAccess::map || size > detail::kLargestCopy || !detail::huge_pages_affordable(size) ||
        detail::in_huge_pages(mapped, size)) {
      return result;
    }
  }
  void* memory = ::operator new(size, detail::kFileAlignment, std::nothrow);
  if (memory == nullptr) {
    return Error(ErrorCode::out_of_memory,
                 path + ": no memory for its " + std::to_string(size) + " bytes");
  }
  detail::advise_huge_pages(memory, size);
  auto* data = static_cast<std::uint8_t*>(memory);
  MappedFile result(path, Data(data, Release{size, false}), size);
  GEMMA_TRY(detail::read_all(file, data, size));
  return result;
}

GEMMA_INLINE void MappedFile::advise_willneed(std::size_t offset, std::size_t length) const {
  if (!is_mapped() || offset >= size_) return;
  detail::SystemFile::will_need(data_.get() + offset, (std::min)(length, size_ - offset));
}

GEMMA_INLINE void MappedFile::advise_dontneed(std::size_t offset, std::size_t length) const {
  if (!is_mapped() || offset >= size_) return;
  detail::SystemFile::dont_need(data_.get() + offset, (std::min)(length, size_ - offset));
}

GEMMA_INLINE bool MappedFile::holds(Bytes part) const {
  const std::less_equal<const std::uint8_t*> before;
  return before(data_.get(), part.data()) && before(part.end(), bytes().end());
}

GEMMA_INLINE void MappedFile::advise_willneed(Bytes part) const {
  if (!holds(part)) return;
  advise_willneed(static_cast<std::size_t>(part.data() - data_.get()), part.size());
}

GEMMA_INLINE void MappedFile::advise_dontneed(Bytes part) const {
  if (!holds(part)) return;
  advise_dontneed(static_cast<std::size_t>(part.data() - data_.get()), part.size());
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_BASE_IMPL_FILE_INL_HPP_
