// Huge pages for what is read again and again. A pass over a model's weights in pages of 4 KB loses time
// with finding them: a sixteenth where the kernels prefetch (measured on Zen 5), a third where nothing does. Linux
// only; elsewhere these do nothing.
#ifndef GEMMA_BASE_HUGE_PAGES_HPP_
#define GEMMA_BASE_HUGE_PAGES_HPP_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

#include "gemma/config.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

inline constexpr std::size_t kHugePage = std::size_t{1} << 21;

/// Asks for huge pages for memory, or a mapping, that was not touched yet.
inline void advise_huge_pages(const void* data, std::size_t size) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  const auto address = reinterpret_cast<std::uintptr_t>(data);
  const std::uintptr_t first = (address + kHugePage - 1) / kHugePage * kHugePage;
  if (size < kHugePage || first + kHugePage > address + size) return;
  (void)::madvise(reinterpret_cast<void*>(first), address + size - first, MADV_HUGEPAGE);
#else
  (void)data;
  (void)size;
#endif
}

#if defined(__linux__)

/// The first line of a small file of the system; empty if there is none.
struct SystemLine {
  char text[128] = {};
  explicit SystemLine(const char* path) {
    std::FILE* file = std::fopen(path, "r");
    if (file == nullptr) return;
    if (std::fgets(text, sizeof text, file) == nullptr) text[0] = '\0';
    std::fclose(file);
  }
};

/// Whether memory for `size` bytes would be in huge pages, and is at most a quarter of what this
/// machine, or this container, has.
inline bool huge_pages_affordable(std::size_t size) {
  const SystemLine enabled("/sys/kernel/mm/transparent_hugepage/enabled");
  if (std::strstr(enabled.text, "[always]") == nullptr &&
      std::strstr(enabled.text, "[madvise]") == nullptr) {
    return false;
  }
  const std::uint64_t pages = static_cast<std::uint64_t>((std::max)(::sysconf(_SC_PHYS_PAGES), 0L));
  std::uint64_t memory = pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  unsigned long long limit = 0;
  const SystemLine container("/sys/fs/cgroup/memory.max");  // "max" is no number
  if (std::sscanf(container.text, "%llu", &limit) == 1) {
    memory = (std::min)(memory, static_cast<std::uint64_t>(limit));
  }
  return size <= memory / 4;
}

/// Whether the system's cache holds a mapped file in huge pages: of a few places, which are touched,
/// at least half are.
inline bool in_huge_pages(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kPlaces = 8;
  const std::size_t step = size / kPlaces / kHugePage * kHugePage;
  if (step == 0) return false;
  for (std::size_t place = 0; place < kPlaces; ++place) {
    (void)*static_cast<const volatile std::uint8_t*>(data + place * step);
  }
  std::FILE* file = std::fopen("/proc/self/smaps", "r");
  if (file == nullptr) return false;
  char line[512];
  bool ours = false;
  unsigned long long kilobytes = 0;
  while (std::fgets(line, sizeof line, file) != nullptr) {
    unsigned long long begin = 0, end = 0;
    char space = 0;
    if (std::sscanf(line, "%llx-%llx%c", &begin, &end, &space) == 3 && space == ' ') {
      if (ours) break;
      ours = begin == reinterpret_cast<std::uintptr_t>(data);
    } else if (ours && std::sscanf(line, "FilePmdMapped: %llu kB", &kilobytes) == 1) {
      break;
    }
  }
  std::fclose(file);
  return kilobytes * 1024 >= kPlaces / 2 * kHugePage;
}

#else

inline bool huge_pages_affordable(std::size_t) { return false; }
inline bool in_huge_pages(const std::uint8_t*, std::size_t) { return true; }

#endif

}  // namespace detail
GEMMA_NAMESPACE_END

#endif  // GEMMA_BASE_HUGE_PAGES_HPP_
