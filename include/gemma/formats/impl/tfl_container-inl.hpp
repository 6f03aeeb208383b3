// Bodies of tfl_container.hpp. No offset, length or count of the file is used unchecked.
#ifndef GEMMA_FORMATS_IMPL_TFL_CONTAINER_INL_HPP_
#define GEMMA_FORMATS_IMPL_TFL_CONTAINER_INL_HPP_

#include <algorithm>
#include <cstddef>

#include "gemma/base/bytes.hpp"
#include "gemma/formats/file_kind.hpp"
#include "gemma/formats/metadata.hpp"
#include "gemma/formats/tfl_container.hpp"

GEMMA_NAMESPACE_BEGIN
namespace tfl {
namespace detail {

/// A table: where it is, and where its fields are listed.
struct Table {
  std::size_t at = 0;
  std::size_t fields = 0;  ///< of the vtable's list
  std::size_t count = 0;
};

/// A vector: where its elements begin, and how many they are.
struct Vector {
  std::size_t begin = 0;
  std::size_t count = 0;
};

/// Follows the offsets of a flatbuffer.
class Walker {
 public:
  Walker(Bytes bytes, const std::string& name) : bytes_(bytes), name_(name) {}

  template <class T>
  Result<T> number(std::size_t at, const char* what) const {
    if (at > bytes_.size() || bytes_.size() - at < sizeof(T)) return outside(at, what);
    return load_le<T>(bytes_.data() + at);
  }

  /// Where the offset at `at` leads.
  Result<std::size_t> follow(std::size_t at, const char* what) const {
    GEMMA_TRY_ASSIGN(const std::uint32_t distance, number<std::uint32_t>(at, what));
    if (distance >= bytes_.size() - at) return outside(at, what);
    return at + distance;
  }

  Result<Table> table(std::size_t at, const char* what) const {
    GEMMA_TRY_ASSIGN(const std::int32_t back, number<std::int32_t>(at, what));
    const std::int64_t place = static_cast<std::int64_t>(at) - back;
    if (place < 0 || static_cast<std::uint64_t>(place) > bytes_.size()) return outside(at, what);
    const auto vtable = static_cast<std::size_t>(place);
    GEMMA_TRY_ASSIGN(const std::uint16_t size, number<std::uint16_t>(vtable, what));
    if (size < 4 || size % 2 != 0 || size > bytes_.size() - vtable) return outside(vtable, what);
    return Table{at, vtable + 4, (size - std::size_t{4}) / 2};
  }

  /// Where a field of a table is; none if it is left out.
  Result<std::optional<std::size_t>> field(const Table& table, std::size_t slot,
                                           const char* what) const {
    using Place = std::optional<std::size_t>;
    if (slot >= table.count) return Place();
    const auto offset = load_le<std::uint16_t>(bytes_.data() + table.fields + 2 * slot);
    if (offset == 0) return Place();
    if (offset >= bytes_.size() - table.at) return outside(table.at, what);
    return Place(table.at + offset);
  }

  template <class T>
  Result<T> number_or(const Table& table, std::size_t slot, T fallback, const char* what) const {
    GEMMA_TRY_ASSIGN(const std::optional<std::size_t> at, field(table, slot, what));
    if (!at) return fallback;
    return number<T>(*at, what);
  }

  /// A field that is a vector of elements of `bytes` bytes; empty if it is left out.
  Result<Vector> vector(const Table& table, std::size_t slot, std::size_t bytes,
                        const char* what) const {
    GEMMA_TRY_ASSIGN(const std::optional<std::size_t> at, field(table, slot, what));
    if (!at) return Vector();
    GEMMA_TRY_ASSIGN(const std::size_t place, follow(*at, what));
    GEMMA_TRY_ASSIGN(const std::uint32_t count, number<std::uint32_t>(place, what));
    if (count > (bytes_.size() - place - 4) / bytes) return outside(place, what);
    return Vector{place + 4, count};
  }

  /// A table that is an element of a vector.
  Result<Table> element(const Vector& vector, std::size_t i, const char* what) const {
    GEMMA_TRY_ASSIGN(const std::size_t at, follow(vector.begin + 4 * i, what));
    return table(at, what);
  }

  Result<std::string> text(const Table& table, std::size_t slot, const char* what) const {
    constexpr std::size_t kLongest = 1000;
    GEMMA_TRY_ASSIGN(const Vector chars, vector(table, slot, 1, what));
    if (chars.count > kLongest) {
      return error(chars.begin, std::string(what) + " has " + std::to_string(chars.count) +
                                    " bytes, expected at most " + std::to_string(kLongest));
    }
    return std::string(reinterpret_cast<const char*>(bytes_.data()) + chars.begin, chars.count);
  }

  Error error(std::size_t at, const std::string& what) const {
    return Error(ErrorCode::format, name_ + ": " + what + " (at offset " + std::to_string(at) + ")");
  }

 private:
  Error outside(std::size_t at, const char* what) const {
    return error(at, std::string(what) + " is not inside the file, which has " +
                         std::to_string(bytes_.size()) + " bytes; is the download complete?");
  }

  Bytes bytes_;
  const std::string& name_;
};

/// Fills a File. Numbers of fields are those of schema.fbs.
class Parser {
 public:
  static Result<File> parse(Bytes bytes, std::string name) {
    File file(bytes, std::move(name));
    Parser parser(file);
    GEMMA_TRY(parser.read());
    return file;
  }

  /// The bytes of a buffer: in the table, or anywhere in the file.
  static Result<Bytes> buffer(const File& file, std::uint32_t index, const std::string& what) {
    const Walker walker(file.bytes_, file.name_);
    if (index >= file.buffer_count_) {
      return walker.error(file.buffers_, what + " is in buffer " + std::to_string(index) + " of " +
                                             std::to_string(file.buffer_count_));
    }
    const Vector all{file.buffers_, file.buffer_count_};
    GEMMA_TRY_ASSIGN(const Table table, walker.element(all, index, "a buffer"));
    GEMMA_TRY_ASSIGN(const auto offset,
                     walker.number_or<std::uint64_t>(table, 1, 0, "the offset of a buffer"));
    GEMMA_TRY_ASSIGN(const auto size,
                     walker.number_or<std::uint64_t>(table, 2, 0, "the size of a buffer"));
    if (offset <= 1) {
      GEMMA_TRY_ASSIGN(const Vector data, walker.vector(table, 0, 1, "the data of a buffer"));
      return file.bytes_.subspan(data.begin, data.count);
    }
    if (offset > file.bytes_.size() || size > file.bytes_.size() - offset) {
      return walker.error(table.at, what + " of " + std::to_string(size) + " bytes at offset " +
                                        std::to_string(offset) + " exceeds the file, which has " +
                                        std::to_string(file.bytes_.size()) +
                                        " bytes; is the download complete?");
    }
    return file.bytes_.subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(size));
  }

 private:
  static constexpr std::size_t kMostTensors = 100'000;
  static constexpr std::size_t kMostMetadata = 10'000;
  static constexpr std::size_t kMostDimensions = 8;

  explicit Parser(File& file) : file_(file), walker_(file.bytes_, file.name_) {}

  Status read() {
    if (file_kind(file_.bytes_) != FileKind::tflite) {
      return Error(ErrorCode::format,
                   file_.name_ + ": is not a TFLite file, " + describe_start(file_.bytes_));
    }
    GEMMA_TRY_ASSIGN(const std::size_t root, walker_.follow(0, "the model"));
    GEMMA_TRY_ASSIGN(const Table model, walker_.table(root, "the model"));
    GEMMA_TRY_ASSIGN(const Vector buffers, walker_.vector(model, 4, 4, "the list of buffers"));
    file_.buffers_ = buffers.begin;
    file_.buffer_count_ = buffers.count;
    GEMMA_TRY(read_metadata(model));
    GEMMA_TRY_ASSIGN(const Vector graphs, walker_.vector(model, 2, 4, "the list of graphs"));
    GEMMA_TRY_ASSIGN(const Vector signatures, walker_.vector(model, 7, 4, "the list of signatures"));
    if (graphs.count == 0) return walker_.error(model.at, "there is no graph");
    GEMMA_TRY_ASSIGN(const Table graph, walker_.element(graphs, 0, "the graph"));
    GEMMA_TRY_ASSIGN(file_.graph_name_, walker_.text(graph, 4, "the name of the graph"));
    GEMMA_TRY_ASSIGN(const Vector operators, walker_.vector(graph, 3, 4, "the list of operators"));
    file_.is_graph_ = operators.count > 0 || signatures.count > 0;
    return file_.is_graph_ ? Status() : read_tensors(graph);
  }

  Status read_metadata(const Table& model) {
    GEMMA_TRY_ASSIGN(const Vector list, walker_.vector(model, 6, 4, "the list of metadata"));
    GEMMA_TRY(check_count(list, kMostMetadata, "pieces of metadata"));
    for (std::size_t i = 0; i < list.count; ++i) {
      GEMMA_TRY_ASSIGN(const Table entry, walker_.element(list, i, "metadata"));
      GEMMA_TRY_ASSIGN(std::string key, walker_.text(entry, 0, "the name of metadata"));
      GEMMA_TRY_ASSIGN(const auto number,
                       walker_.number_or<std::uint32_t>(entry, 1, 0, "a number of metadata"));
      file_.metadata_.emplace(std::move(key), number);
    }
    return {};
  }

  Status read_tensors(const Table& graph) {
    GEMMA_TRY_ASSIGN(const Vector list, walker_.vector(graph, 0, 4, "the list of tensors"));
    GEMMA_TRY(check_count(list, kMostTensors, "tensors"));
    file_.tensors_.reserve(list.count);
    for (std::size_t i = 0; i < list.count; ++i) {
      GEMMA_TRY_ASSIGN(const Table table, walker_.element(list, i, "a tensor"));
      Tensor tensor;
      GEMMA_TRY_ASSIGN(tensor.name, walker_.text(table, 3, "the name of a tensor"));
      const std::string what = "tensor '" + gguf::printable(tensor.name) + "'";
      if (!file_.index_.emplace(tensor.name, i).second) {
        return walker_.error(table.at, what + " appears twice");
      }
      GEMMA_TRY_ASSIGN(const auto type,
                       walker_.number_or<std::uint8_t>(table, 1, 0, "the type of a tensor"));
      tensor.type = static_cast<TensorType>(type);
      GEMMA_TRY_ASSIGN(const Vector shape, walker_.vector(table, 0, 4, "the shape of a tensor"));
      GEMMA_TRY(check_count(shape, kMostDimensions, "dimensions of " + what));
      for (std::size_t d = 0; d < shape.count; ++d) {
        GEMMA_TRY_ASSIGN(const auto n, walker_.number<std::int32_t>(shape.begin + 4 * d, "a shape"));
        if (n < 0) return walker_.error(shape.begin, what + " has a negative dimension");
        tensor.shape.push_back(static_cast<std::uint64_t>(n));
      }
      GEMMA_TRY_ASSIGN(const auto index,
                       walker_.number_or<std::uint32_t>(table, 2, 0, "the buffer of a tensor"));
      GEMMA_TRY_ASSIGN(tensor.data, buffer(file_, index, what));
      file_.tensors_.push_back(std::move(tensor));
    }
    return {};
  }

  /// Tables may be listed any number of times, so that the file's size is no limit.
  Status check_count(const Vector& list, std::size_t most, const std::string& what) const {
    if (list.count <= most) return {};
    return walker_.error(list.begin, "claims " + std::to_string(list.count) + " " + what +
                                         ", expected at most " + std::to_string(most));
  }

  File& file_;
  Walker walker_;
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
  return detail::Parser::buffer(*this, found->second, "metadata '" + key + "'");
}

GEMMA_INLINE std::optional<std::uint32_t> File::metadata_number(const std::string& key) const {
  const auto found = metadata_.find(key);
  return found == metadata_.end() ? std::nullopt : std::optional<std::uint32_t>(found->second);
}

}  // namespace tfl
GEMMA_NAMESPACE_END

#endif  // GEMMA_FORMATS_IMPL_TFL_CONTAINER_INL_HPP_
