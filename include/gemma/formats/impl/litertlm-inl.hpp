// Bodies of litertlm.hpp.
#ifndef GEMMA_FORMATS_IMPL_LITERTLM_INL_HPP_
#define GEMMA_FORMATS_IMPL_LITERTLM_INL_HPP_

#include <cstddef>
#include <optional>
#include <utility>

#include "gemma/base/bytes.hpp"
#include "gemma/formats/file_kind.hpp"
#include "gemma/formats/flatbuffer.hpp"
#include "gemma/formats/litertlm.hpp"

GEMMA_NAMESPACE_BEGIN
namespace litertlm {
namespace detail {

/// A key of a section, if its value is a text. The numbers of fields are those of the schema.
inline Status read_key(const flatbuffer::Reader& reader, const flatbuffer::Table& item,
                       std::map<std::string, std::string>& keys) {
  constexpr std::uint8_t kText = 9;
  GEMMA_TRY_ASSIGN(std::string key, reader.text(item, 0, "a key of a section"));
  GEMMA_TRY_ASSIGN(const auto type, reader.number_or<std::uint8_t>(item, 1, 0, "a type of a value"));
  GEMMA_TRY_ASSIGN(const auto at, reader.field(item, 2, "a value of a section"));
  if (type != kText || !at) return {};
  GEMMA_TRY_ASSIGN(const std::size_t place, reader.follow(*at, "a value of a section"));
  GEMMA_TRY_ASSIGN(const flatbuffer::Table value, reader.table(place, "a value of a section"));
  GEMMA_TRY_ASSIGN(keys[std::move(key)], reader.text(value, 0, "a value of a section"));
  return {};
}

inline Result<Section> read_section(Bytes file, const flatbuffer::Reader& reader,
                                    const flatbuffer::Table& table, const std::string& name) {
  constexpr std::size_t kMostKeys = 100;
  Section section;
  GEMMA_TRY_ASSIGN(const auto kind, reader.number_or<std::uint8_t>(table, 3, 0, "a kind of section"));
  section.kind = static_cast<SectionKind>(kind);
  GEMMA_TRY_ASSIGN(const flatbuffer::Vector items, reader.vector(table, 0, 4, "keys of a section"));
  GEMMA_TRY(reader.check_count(items, kMostKeys, "keys of a section"));
  for (std::size_t i = 0; i < items.count; ++i) {
    GEMMA_TRY_ASSIGN(const flatbuffer::Table item, reader.element(items, i, "a key of a section"));
    GEMMA_TRY(read_key(reader, item, section.keys));
  }
  GEMMA_TRY_ASSIGN(const auto begin, reader.number_or<std::uint64_t>(table, 1, 0, "a section"));
  GEMMA_TRY_ASSIGN(const auto end, reader.number_or<std::uint64_t>(table, 2, 0, "a section"));
  if (begin > end || end > file.size()) {
    return Error(ErrorCode::format, name + ": section " + kind_name(section.kind) + " from offset " +
                                        std::to_string(begin) + " to " + std::to_string(end) +
                                        " is not inside the file, which has " +
                                        std::to_string(file.size()) +
                                        " bytes; is the download complete?");
  }
  section.data =
      file.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
  return section;
}

}  // namespace detail

GEMMA_INLINE std::string kind_name(SectionKind kind) {
  constexpr const char* kNames[] = {"unknown",          "generic",        "deprecated",
                                    "TFLite",           "SentencePiece",  "LlmMetadata",
                                    "tokenizer.json",   "TFLite weights", "EmbeddingMetadata",
                                    "ExecutorMetadata", "speech",         "speech recognition"};
  const auto number = static_cast<std::size_t>(kind);
  const char* name = number < sizeof kNames / sizeof *kNames ? kNames[number] : kNames[0];
  return std::string(name) + " (" + std::to_string(number) + ")";
}

GEMMA_INLINE Result<std::vector<Section>> read_sections(Bytes file, const std::string& name) {
  constexpr std::size_t kHead = 32, kVersionAt = 8, kEndAt = 24;
  constexpr std::uint32_t kMajor = 1;
  constexpr std::size_t kMostSections = 100;
  if (file_kind(file) != FileKind::litertlm) {
    return Error(ErrorCode::format, name + ": is not a .litertlm file, " + describe_start(file));
  }
  const auto error = [&](ErrorCode code, const std::string& what) {
    return Error(code, name + ": " + what);
  };
  if (file.size() < kHead) {
    return error(ErrorCode::format, "ends within its head of 32 bytes; is the download complete?");
  }
  const auto major = load_le<std::uint32_t>(file.data() + kVersionAt);
  if (major != kMajor) {
    return error(ErrorCode::unsupported, "is a .litertlm file of version " + std::to_string(major) +
                                             "; this version reads those of version 1");
  }
  const auto end = load_le<std::uint64_t>(file.data() + kEndAt);
  if (end < kHead || end > file.size()) {
    return error(ErrorCode::format, "says that its head ends at offset " + std::to_string(end) +
                                        ", but has " + std::to_string(file.size()) +
                                        " bytes; is the download complete?");
  }
  const Bytes head = file.subspan(kHead, static_cast<std::size_t>(end) - kHead);
  const std::string head_name = name + ": head";
  const flatbuffer::Reader reader(head, head_name);
  GEMMA_TRY_ASSIGN(const std::size_t root, reader.follow(0, "the root"));
  GEMMA_TRY_ASSIGN(const flatbuffer::Table table, reader.table(root, "the root"));
  GEMMA_TRY_ASSIGN(const auto list_at, reader.field(table, 1, "the list of sections"));
  if (!list_at) return error(ErrorCode::format, "has no list of sections");
  GEMMA_TRY_ASSIGN(const std::size_t place, reader.follow(*list_at, "the list of sections"));
  GEMMA_TRY_ASSIGN(const flatbuffer::Table list, reader.table(place, "the list of sections"));
  GEMMA_TRY_ASSIGN(const flatbuffer::Vector objects, reader.vector(list, 0, 4, "the sections"));
  GEMMA_TRY(reader.check_count(objects, kMostSections, "sections"));
  std::vector<Section> sections;
  for (std::size_t i = 0; i < objects.count; ++i) {
    GEMMA_TRY_ASSIGN(const flatbuffer::Table object, reader.element(objects, i, "a section"));
    GEMMA_TRY_ASSIGN(Section section, detail::read_section(file, reader, object, name));
    sections.push_back(std::move(section));
  }
  return sections;
}

}  // namespace litertlm
GEMMA_NAMESPACE_END

#endif  // GEMMA_FORMATS_IMPL_LITERTLM_INL_HPP_
