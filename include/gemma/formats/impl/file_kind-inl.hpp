// Bodies of file_kind.hpp.
#ifndef GEMMA_FORMATS_IMPL_FILE_KIND_INL_HPP_
#define GEMMA_FORMATS_IMPL_FILE_KIND_INL_HPP_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "gemma/base/bytes.hpp"
#include "gemma/formats/file_kind.hpp"
#include "gemma/formats/metadata.hpp"

GEMMA_NAMESPACE_BEGIN
namespace detail {

inline std::string_view text_of_file(Bytes file) {
  return {reinterpret_cast<const char*>(file.data()), file.size()};
}

/// Whether a zip's table of contents, which is at its end, has the entry of a model's graph.
inline bool lists_a_graph(std::string_view zip) {
  constexpr std::size_t kTable = 65536;
  const std::string_view end = zip.substr(zip.size() - (std::min)(zip.size(), kTable));
  return end.find("TF_LITE_PREFILL_DECODE") != std::string_view::npos;
}

}  // namespace detail

GEMMA_INLINE FileKind file_kind(Bytes file) {
  constexpr std::uint64_t kLongestHeader = 100'000'000;  // of safetensors: a length, then a brace
  constexpr std::size_t kMostPadding = 4;
  const std::string_view text = detail::text_of_file(file);
  const auto has = [&](std::size_t offset, std::string_view start) {
    return text.size() > offset && text.substr(offset, start.size()) == start;
  };
  if (has(0, "GGUF")) return FileKind::gguf;
  if (has(4, "TFL3")) return FileKind::tflite;
  if (has(0, "LITERTLM")) return FileKind::litertlm;
  if (has(8, "{") && load_le<std::uint64_t>(file.data()) <= kLongestHeader) {
    return FileKind::safetensors;
  }
  std::size_t zeros = 0;
  while (zeros < kMostPadding && zeros < file.size() && file[zeros] == 0) ++zeros;
  if (has(zeros, "PK\x03\x04") && (zeros > 0 || detail::lists_a_graph(text))) return FileKind::task;
  return FileKind::unknown;
}

GEMMA_INLINE std::string describe_start(Bytes file) {
  struct Known {
    std::size_t offset;
    std::string_view start;
    const char* what;
  };
  constexpr Known known[] = {
      {0, "<", "a web page, perhaps an error saved in place of the download"},
      {0, "version https://git-lfs", "a Git LFS pointer; fetch the file itself with git lfs pull"},
      {0, "PK\x03\x04", "a zip archive"},
      {8, "{\"", "a safetensors file"},
      {4, "TFL3", "a LiteRT model"},
      {0, "tjgg", "an old ggml file; convert the model again"},
      {0, "fmgg", "an old ggml file; convert the model again"},
      {0, "lmgg", "an old ggml file; convert the model again"},
      {0, std::string_view("\0\0\0\0\0\0\0\0", 8), "zeros, as of a download that is not complete"},
  };
  const std::string_view text = detail::text_of_file(file);
  if (text.empty()) return "it is empty";
  const std::string start = "it begins with '" + gguf::printable(text.substr(0, 16)) + "'";
  for (const Known& k : known) {
    if (text.size() > k.offset && text.substr(k.offset, k.start.size()) == k.start) {
      return start + ": " + k.what;
    }
  }
  return start;
}

GEMMA_NAMESPACE_END

#endif  // GEMMA_FORMATS_IMPL_FILE_KIND_INL_HPP_
