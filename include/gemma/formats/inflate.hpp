// Unpacking deflate streams: bare ones, as in zip archives, and those with zlib's head and checksum, as
// LiteRT-LM packs its tokenizers. Of our own rather than zlib, because it is a page of code, and a
// library to link would be the first that programs need besides this one.
// Source: RFC 1950 (zlib), RFC 1951 (deflate).
#ifndef GEMMA_FORMATS_INFLATE_HPP_
#define GEMMA_FORMATS_INFLATE_HPP_

#include <cstdint>
#include <string>

#include "gemma/base/aligned.hpp"
#include "gemma/base/error.hpp"
#include "gemma/base/span.hpp"

GEMMA_NAMESPACE_BEGIN

/// Unpacks a deflate stream, which must give exactly `size` bytes: no more is ever allocated, and
/// nothing at all if no stream of that length can hold so many. `name` is for messages.
Result<AlignedArray<std::uint8_t>> inflate(Bytes packed, std::uint64_t size,
                                           const std::string& name);

/// The same of a zlib stream, whose Adler-32 is checked.
Result<AlignedArray<std::uint8_t>> inflate_zlib(Bytes packed, std::uint64_t size,
                                                const std::string& name);

GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/formats/impl/inflate-inl.hpp"
#endif

#endif  // GEMMA_FORMATS_INFLATE_HPP_
