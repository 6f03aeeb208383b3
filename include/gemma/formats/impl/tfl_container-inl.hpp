// Bodies of tfl_container.hpp. No offset, length or count of the file is used unchecked.
#ifndef GEMMA_FORMATS_IMPL_TFL_CONTAINER_INL_HPP_
#define GEMMA_FORMATS_IMPL_TFL_CONTAINER_INL_HPP_

#include <algorithm>
#include <cstddef>

#include "gemma/formats/file_kind.hpp"
#include "gemma/formats/flatbuffer.hpp"
#include "gemma/formats/metadata.hpp"
#include "gemma/formats/tfl_container.hpp"

GEMMA_NAMESPACE_BEGIN
namespace tfl {
namespace detail {

using flatbuffer::Table;
using flatbuffer::Vector;

/// The bytes of a buffer of a model: in the table, or anywhere in the file.
inline Result<Bytes> buffer_bytes(const flatbuffer::Reader& reader, const Vector& buffers,
                                  std::uint32_t index, const std::string& what) {
  if (index >= buffers.count) {
    return reader.error(buffers.begin, what + " is in buffer " + std::to_string(index) + " of " +
                                           std::to_string(buffers.count));
  }
  const Bytes file = reader.bytes();
  GEMMA_TRY_ASSIGN(const Table table, reader.element(buffers, index, "a buffer"));
  GEMMA_TRY_ASSIGN(const auto offset,
                   reader.number_or<std::uint64_t>(table, 1, 0, "the offset of a buffer"));
  GEMMA_TRY_ASSIGN(const auto size,
                   reader.number_or<std::uint64_t>(table, 2, 0, "the size of a buffer"));
  if (offset <= 1) {
    GEMMA_TRY_ASSIGN(const Vector data, reader.vector(table, 0, 1, "the data of a buffer"));
    return file.subspan(data.begin, data.count);
  }
  if (offset > file.size() || size > file.size() - offset) {
    return reader.error(table.at, what + " of " + std::to_string(size) + " bytes at offset " +
                                      std::to_string(offset) + " exceeds the file, which has " +
                                      std::to_string(file.size()) +
                                      " bytes; is the download complete?");
  }
  return file.subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(size));
}

/// Fills a File. Numbers of fields are those of schema.fbs.
class Parser {
 public:
  static Result<File> parse(Bytes bytes, std::string name) {
    File file(bytes, std::move(name));
    Parser parser(file);
    GEMMA_TRY(parser.read());
    return file;
  }

 private:
  static constexpr std::size_t kMostTensors = 100'000;
  static constexpr std::size_t kMostMetadata = 10'000;
  static constexpr std::size_t kMostDimensions = 8;

  explicit Parser(File& file) : file_(file), reader_(file.bytes_, file.name_) {}

  Status read() {
    if (file_kind(file_.bytes_) != FileKind::tflite) {
      return Error(ErrorCode::format,
                   file_.name_ + ": is not a TFLite file, " + describe_start(file_.bytes_));
    }
    GEMMA_TRY_ASSIGN(const std::size_t root, reader_.follow(0, "the model"));
    GEMMA_TRY_ASSIGN(const Table model, reader_.table(root, "the model"));
    GEMMA_TRY_ASSIGN(const Vector buffers, reader_.vector(model, 4, 4, "the list of buffers"));
    file_.buffers_ = buffers.begin;
    file_.buffer_count_ = buffers.count;
    GEMMA_TRY(read_metadata(model));
    GEMMA_TRY_ASSIGN(const Vector graphs, reader_.vector(model, 2, 4, "the list of graphs"));
    GEMMA_TRY_ASSIGN(const Vector signatures, reader_.vector(model, 7, 4, "the list of signatures"));
    if (graphs.count == 0) return reader_.error(model.at, "there is no graph");
    GEMMA_TRY_ASSIGN(const Table graph, reader_.element(graphs, 0, "the graph"));
    GEMMA_TRY_ASSIGN(file_.graph_name_, reader_.text(graph, 4, "the name of the graph"));
    GEMMA_TRY_ASSIGN(const Vector operators, reader_.vector(graph, 3, 4, "the list of operators"));
    file_.is_graph_ = operators.count > 0 || signatures.count > 0;
    return file_.is_graph_ ? Status() : read_tensors(graph);
  }

  Status read_metadata(const Table& model) {
    GEMMA_TRY_ASSIGN(const Vector list, reader_.vector(model, 6, 4, "the list of metadata"));
    GEMMA_TRY(reader_.check_count(list, kMostMetadata, "pieces of metadata"));
    for (std::size_t i = 0; i < list.count; ++i) {
      GEMMA_TRY_ASSIGN(const Table entry, reader_.element(list, i, "metadata"));
      GEMMA_TRY_ASSIGN(std::string key, reader_.text(entry, 0, "the name of metadata"));
      GEMMA_TRY_ASSIGN(const auto number,
                       reader_.number_or<std::uint32_t>(entry, 1, 0, "a number of metadata"));
      file_.metadata_.emplace(std::move(key), number);
    }
    return {};
  }

  Status read_tensors(const Table& graph) {
    GEMMA_TRY_ASSIGN(const Vector list, reader_.vector(graph, 0, 4, "the list of tensors"));
    GEMMA_TRY(reader_.check_count(list, kMostTensors, "tensors"));
    file_.tensors_.reserve(list.count);
    for (std::size_t i = 0; i < list.count; ++i) {
      GEMMA_TRY_ASSIGN(const Table table, reader_.element(list, i, "a tensor"));
      Tensor tensor;
      GEMMA_TRY_ASSIGN(tensor.name, reader_.text(table, 3, "the name of a tensor"));
      const std::string what = "tensor '" + gguf::printable(tensor.name) + "'";
      if (!file_.index_.emplace(tensor.name, i).second) {
        return reader_.error(table.at, what + " appears twice");
      }
      GEMMA_TRY_ASSIGN(const auto type,
                       reader_.number_or<std::uint8_t>(table, 1, 0, "the type of a tensor"));
      tensor.type = static_cast<TensorType>(type);
      GEMMA_TRY_ASSIGN(const Vector shape, reader_.vector(table, 0, 4, "the shape of a tensor"));
      GEMMA_TRY(reader_.check_count(shape, kMostDimensions, "dimensions of " + what));
      for (std::size_t d = 0; d < shape.count; ++d) {
        GEMMA_TRY_ASSIGN(const auto n, reader_.number<std::int32_t>(shape.begin + 4 * d, "a shape"));
        if (n < 0) return reader_.error(shape.begin, what + " has a negative dimension");
        tensor.shape.push_back(static_cast<std::uint64_t>(n));
      }
      GEMMA_TRY_ASSIGN(const auto index,
                       reader_.number_or<std::uint32_t>(table, 2, 0, "the buffer of a tensor"));
      GEMMA_TRY_ASSIGN(tensor.data, buffer_bytes(reader_, {file_.buffers_, file_.buffer_count_},
                                                 index, what));
      file_.tensors_.push_back(std::move(tensor));
    }
    return {};
  }

  File& file_;
  flatbuffer::Reader reader_;
};

}  // namespace detail

GEMMA_INLINE Result<File> File::open(const std::string& path, FileAccess access) {
  GEMMA_TRY_ASSIGN(MappedFile mapping, MappedFile::open(path, access));
  GEMMA_TRY_ASSIGN(File file, from_bytes(mapping.bytes(), path));
  file.mapping_.emplace(std::move(mapping));
  return file;
}

GEMMA_INLINE Result<File> File::from_bytes(Bytes bytes, std::string name,
                                           std::shared_ptr<const void> owner) {
  GEMMA_TRY_ASSIGN(File file, detail::Parser::parse(bytes, std::move(name)));
  file.owner_ = std::move(owner);
  return file;
}

GEMMA_INLINE const Tensor* File::find_tensor(const std::string& name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

GEMMA_INLINE Result<Bytes> File::metadata(const std::string& key) const {
  const auto found = metadata_.find(key);
  if (found == metadata_.end()) {
    return Error(ErrorCode::format, name_ + ": metadata '" + key + "' is missing");
  }
  return detail::buffer_bytes(flatbuffer::Reader(bytes_, name_), {buffers_, buffer_count_},
                              found->second, "metadata '" + key + "'");
}

GEMMA_INLINE std::optional<std::uint32_t> File::metadata_number(const std::string& key) const {
  const auto found = metadata_.find(key);
  return found == metadata_.end() ? std::nullopt : std::optional<std::uint32_t>(found->second);
}

}  // namespace tfl
GEMMA_NAMESPACE_END

#endif  // GEMMA_FORMATS_IMPL_TFL_CONTAINER_INL_HPP_
