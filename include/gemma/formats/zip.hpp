// Zip archives, such as MediaPipe's .task bundles: their entries as parts of the file, found by the table
// at its end, wherever the first begins. With the extensions for large files, without encryption.
// Source: PKWARE's APPNOTE.TXT.
#ifndef GEMMA_FORMATS_ZIP_HPP_
#define GEMMA_FORMATS_ZIP_HPP_

#include <cstdint>
#include <string>
#include <vector>

#include "gemma/base/aligned.hpp"
#include "gemma/base/error.hpp"
#include "gemma/base/span.hpp"

GEMMA_NAMESPACE_BEGIN
namespace zip {

/// A file in an archive.
struct Entry {
  std::string name;        ///< as the archive has it
  std::uint16_t method;    ///< 0: stored as it is; 8: deflated
  std::uint32_t checksum;  ///< CRC-32 of the content
  std::uint64_t size;      ///< bytes of the content
  Bytes data;              ///< in the archive: the content itself if it is stored
};

/// The entries of an archive, in the order of its table; all lie inside, and none has the name of
/// another. `name` is for messages.
Result<std::vector<Entry>> read_entries(Bytes archive, const std::string& name);

/// The content of an entry that is deflated, whose checksum is checked. (That of stored ones is not:
/// they are used in place, and may have gigabytes.) Errors: it is packed in another way.
Result<AlignedArray<std::uint8_t>> unpack(const Entry& entry, const std::string& name);

}  // namespace zip
GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/formats/impl/zip-inl.hpp"
#endif

#endif  // GEMMA_FORMATS_ZIP_HPP_
