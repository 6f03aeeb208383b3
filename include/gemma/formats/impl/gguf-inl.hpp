// Bodies of gguf.hpp: the parser. No length, count or offset of the file is used unchecked.
#ifndef GEMMA_FORMATS_IMPL_GGUF_INL_HPP_
#define GEMMA_FORMATS_IMPL_GGUF_INL_HPP_

#include <algorithm>
#include <limits>

#include "gemma/base/bytes.hpp"
#include "gemma/formats/file_kind.hpp"
#include "gemma/formats/gguf.hpp"
#include "gemma/quant/registry.hpp"

GEMMA_NAMESPACE_BEGIN
namespace gguf {
namespace detail {

/// Names of ggml types that quant/ does not decode, for messages.
inline std::string type_name(std::uint32_t raw) {
  struct Known {
    std::uint32_t raw;
    const char* name;
  };
  constexpr Known known[] = {
      {9, "Q8_1"},     {15, "Q8_K"},   {16, "IQ2_XXS"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"},
      {19, "IQ1_S"},   {21, "IQ3_S"},  {22, "IQ2_S"},   {24, "I8"},     {25, "I16"},
      {26, "I32"},     {27, "I64"},    {28, "F64"},     {29, "IQ1_M"},  {34, "TQ1_0"},
      {35, "TQ2_0"},   {39, "MXFP4"},
  };
  for (const Known& k : known) {
    if (k.raw == raw) return k.name;
  }
  return "unknown";
}

/// "[640, 2048]"
inline std::string shape_text(const std::vector<std::uint64_t>& shape) {
  std::string out;
  for (const std::uint64_t n : shape) out += (out.empty() ? "[" : ", ") + std::to_string(n);
  return out + "]";
}

/// Fills a File from its bytes, front to back.
class Parser {
 public:
  static Result<File> parse(Bytes bytes, std::string name) {
    File file(bytes, std::move(name));
    Parser parser(file);
    GEMMA_TRY(parser.read_header());
    GEMMA_TRY(parser.read_entries());
    GEMMA_TRY(parser.read_alignment());
    GEMMA_TRY(parser.read_tensors());
    GEMMA_TRY(parser.place_tensors());
    GEMMA_TRY(parser.check_overlap());
    return file;
  }

 private:
  static constexpr std::size_t kMaxKeyBytes = 65535;  // of the specification
  static constexpr std::size_t kMaxDimensions = 4;
  static constexpr int kMaxArrayDepth = 4;
  static constexpr std::uint64_t kMaxAlignment = std::uint64_t{1} << 30;
  // A length of 8 bytes, a name of 1, a type of 4, a value of 1.
  static constexpr std::uint64_t kMinEntryBytes = 14;
  // A length of 8 bytes, a name of 1, a rank of 4, one dimension of 8, a type of 4, an offset of 8.
  static constexpr std::uint64_t kMinTensorBytes = 33;

  explicit Parser(File& file) : file_(file), reader_(file.bytes_, file.name_) {}

  Status read_header() {
    constexpr std::string_view kMagic = "GGUF";
    const std::string_view text = text_of(file_.bytes_);
    if (text.substr(0, kMagic.size()) != kMagic) {
      return Error(ErrorCode::format,
                   file_.name_ + ": is not a GGUF file, " + describe_start(file_.bytes_));
    }
    GEMMA_TRY(reader_.read<std::uint32_t>("the magic number"));
    GEMMA_TRY_ASSIGN(file_.version_, reader_.read<std::uint32_t>("the version"));
    if (file_.version_ != 0 && (file_.version_ & 0xFFFFu) == 0) {
      return unsupported("is a big-endian GGUF file; convert the model for little-endian machines");
    }
    if (file_.version_ < 2) {
      return unsupported("is GGUF version " + std::to_string(file_.version_) +
                         ", expected 2 or 3; convert the model again");
    }
    if (file_.version_ > 3) {
      return unsupported("is GGUF version " + std::to_string(file_.version_) +
                         ", expected 2 or 3; a newer gemma.hpp may read it");
    }
    GEMMA_TRY_ASSIGN(tensor_count_, reader_.read<std::uint64_t>("the number of tensors"));
    GEMMA_TRY_ASSIGN(entry_count_, reader_.read<std::uint64_t>("the number of keys"));
    GEMMA_TRY(check_count(entry_count_, kMinEntryBytes, "metadata keys"));
    return check_count(tensor_count_, kMinTensorBytes, "tensors");
  }

  Status read_entries() {
    file_.entries_.reserve(static_cast<std::size_t>(entry_count_));
    for (std::uint64_t i = 0; i < entry_count_; ++i) {
      GEMMA_TRY_ASSIGN(const std::string_view key, read_name("key", i));
      if (!file_.entry_index_.emplace(key, file_.entries_.size()).second) {
        return reader_.error("key '" + printable(key) + "' appears twice");
      }
      const std::string what = "key '" + printable(key) + "'";
      GEMMA_TRY_ASSIGN(const ValueType type, read_value_type(what));
      GEMMA_TRY_ASSIGN(Value value, read_value(type, what, 0));
      file_.entries_.push_back(Entry{key, std::move(value)});
    }
    return {};
  }

  Result<ValueType> read_value_type(const std::string& what) {
    GEMMA_TRY_ASSIGN(const std::uint32_t raw, reader_.read<std::uint32_t>("the type of " + what));
    if (is_value_type(raw)) return static_cast<ValueType>(raw);
    return reader_.error(what + " has value type " + std::to_string(raw) + ", expected 0 to 12");
  }

  Result<Value> read_value(ValueType type, const std::string& what, int depth) {
    if (type == ValueType::array) return read_array(what, depth + 1);
    if (type == ValueType::string) {
      GEMMA_TRY_ASSIGN(const std::string_view text, read_string(what));
      return Value::scalar(type, bytes_of(text));
    }
    GEMMA_TRY_ASSIGN(const Bytes bytes, reader_.read_bytes(value_bytes(type), what));
    if (type == ValueType::boolean) GEMMA_TRY(check_booleans(bytes, what));
    return Value::scalar(type, bytes);
  }

  Result<Value> read_array(const std::string& what, int depth) {
    if (depth > kMaxArrayDepth) {
      return reader_.error(what + " nests arrays deeper than " + std::to_string(kMaxArrayDepth));
    }
    GEMMA_TRY_ASSIGN(const ValueType type, read_value_type("the elements of " + what));
    GEMMA_TRY_ASSIGN(const std::uint64_t count,
                     reader_.read<std::uint64_t>("the array length of " + what));
    // A string takes its length of 8 bytes at least, an array its type and length.
    const std::size_t number = value_bytes(type);
    const std::size_t least = number != 0 ? number : type == ValueType::string ? 8 : 12;
    GEMMA_TRY(check_count(count, least, "array elements in " + what));
    if (number != 0) {
      GEMMA_TRY_ASSIGN(const Bytes bytes, reader_.read_bytes(count * number, what));
      if (type == ValueType::boolean) GEMMA_TRY(check_booleans(bytes, what));
      return Value::numbers(type, bytes);
    }
    if (type == ValueType::string) return read_strings(static_cast<std::size_t>(count), what);
    std::vector<Value> arrays;
    for (std::uint64_t i = 0; i < count; ++i) {
      GEMMA_TRY_ASSIGN(Value array, read_array(what, depth + 1));
      arrays.push_back(std::move(array));
    }
    return Value::arrays(std::move(arrays));
  }

  Result<Value> read_strings(std::size_t count, const std::string& what) {
    std::vector<std::string_view> strings;
    strings.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      GEMMA_TRY_ASSIGN(const std::string_view text, read_string(what));
      strings.push_back(text);
    }
    return Value::strings(std::move(strings));
  }

  Result<std::string_view> read_string(std::string_view what) {
    GEMMA_TRY_ASSIGN(const std::uint64_t size, reader_.read<std::uint64_t>(what));
    GEMMA_TRY_ASSIGN(const Bytes bytes, reader_.read_bytes(size, what));
    return text_of(bytes);
  }

  /// The name of the i-th key or tensor.
  Result<std::string_view> read_name(const char* kind, std::uint64_t i) {
    const std::string what = std::string("the name of ") + kind + " " + std::to_string(i);
    GEMMA_TRY_ASSIGN(const std::string_view name, read_string(what));
    if (!name.empty() && name.size() <= kMaxKeyBytes) return name;
    return reader_.error(what + " has " + std::to_string(name.size()) + " bytes, expected 1 to " +
                         std::to_string(kMaxKeyBytes));
  }

  Status check_booleans(Bytes bytes, const std::string& what) const {
    for (const std::uint8_t byte : bytes) {
      if (byte > 1) {
        return reader_.error(what + " has a boolean of value " + std::to_string(byte) +
                             ", expected 0 or 1");
      }
    }
    return {};
  }

  /// Refuses a count that the rest of the file cannot hold, before anything is allocated for it.
  Status check_count(std::uint64_t count, std::uint64_t least_bytes_each,
                     const std::string& what) const {
    if (count <= reader_.remaining() / least_bytes_each) return {};
    return reader_.error("claims " + std::to_string(count) + " " + what + ", but only " +
                         std::to_string(reader_.remaining()) +
                         " bytes follow; the file is damaged or truncated");
  }

  Status read_alignment() {
    const char* key = "general.alignment";
    const Value* value = file_.find(key);
    if (value == nullptr) return {};
    if (value->type() != ValueType::u32) {
      return file_.key_error(key, "is " + value->describe() + ", expected a u32");
    }
    GEMMA_TRY_ASSIGN(const std::uint64_t alignment, value->as_uint());
    if (alignment < 8 || alignment > kMaxAlignment || (alignment & (alignment - 1)) != 0) {
      return file_.key_error(key, "is " + std::to_string(alignment) +
                                      ", expected a power of two from 8 to 2^30");
    }
    file_.alignment_ = static_cast<std::size_t>(alignment);
    return {};
  }

  /// Names, types and shapes; the bytes are found by place_tensors().
  Status read_tensors() {
    GEMMA_TRY(check_count(tensor_count_, kMinTensorBytes, "tensors"));
    file_.tensors_.reserve(static_cast<std::size_t>(tensor_count_));
    for (std::uint64_t i = 0; i < tensor_count_; ++i) {
      GEMMA_TRY_ASSIGN(const std::string_view name, read_name("tensor", i));
      const std::string what = "tensor '" + printable(name) + "'";
      if (!file_.tensor_index_.emplace(name, file_.tensors_.size()).second) {
        return reader_.error(what + " appears twice");
      }
      TensorView tensor;
      tensor.name = std::string(name);
      GEMMA_TRY_ASSIGN(tensor.shape, read_shape(what));
      GEMMA_TRY_ASSIGN(const std::uint32_t raw, reader_.read<std::uint32_t>("the type of " + what));
      if (!quant::is_supported(raw)) {
        return unsupported(what + " has number format " + std::to_string(raw) + " (" +
                           type_name(raw) + "); supported are " + quant::supported_names());
      }
      tensor.type = static_cast<DType>(raw);
      GEMMA_TRY_ASSIGN(const std::uint64_t offset,
                       reader_.read<std::uint64_t>("the offset of " + what));
      offsets_.push_back(offset);
      file_.tensors_.push_back(std::move(tensor));
    }
    return {};
  }

  Result<std::vector<std::uint64_t>> read_shape(const std::string& what) {
    GEMMA_TRY_ASSIGN(const std::uint32_t rank,
                     reader_.read<std::uint32_t>("the number of dimensions of " + what));
    if (rank < 1 || rank > kMaxDimensions) {
      return reader_.error(what + " has " + std::to_string(rank) +
                           " dimensions, expected 1 to 4");
    }
    std::vector<std::uint64_t> shape;
    std::uint64_t elements = 1;
    bool overflow = false;
    for (std::uint32_t i = 0; i < rank; ++i) {
      GEMMA_TRY_ASSIGN(const std::uint64_t n,
                       reader_.read<std::uint64_t>("the dimensions of " + what));
      shape.push_back(n);
      if (n == 0) return reader_.error(what + " has a dimension of 0: " + shape_text(shape));
      overflow = overflow || elements > (std::numeric_limits<std::int64_t>::max)() / n;
      elements *= n;
    }
    if (overflow) {
      return reader_.error(what + " has more elements than any file: " + shape_text(shape));
    }
    return shape;
  }

  /// Finds each tensor's bytes. Offsets count from the first aligned byte after the header.
  Status place_tensors() {
    const std::uint64_t file_size = file_.bytes_.size();
    const std::uint64_t alignment = file_.alignment_;
    const std::uint64_t start = (reader_.offset() + alignment - 1) / alignment * alignment;
    for (std::size_t i = 0; i < file_.tensors_.size(); ++i) {
      TensorView& tensor = file_.tensors_[i];
      const std::uint64_t offset = offsets_[i];
      const Result<std::uint64_t> row = quant::row_bytes(tensor.type, tensor.row_length());
      if (!row) return tensor_error(tensor, row.error().message());
      if (offset % alignment != 0) {
        return tensor_error(tensor, "begins at offset " + std::to_string(offset) +
                                        ", not a multiple of the alignment " +
                                        std::to_string(alignment));
      }
      // The first comparison also keeps the multiplication within 64 bits.
      const bool fits = tensor.rows() <= file_size / *row && start <= file_size &&
                        offset <= file_size - start &&
                        *row * tensor.rows() <= file_size - start - offset;
      if (!fits) {
        return tensor_error(
            tensor, "of " + std::to_string(tensor.rows()) + " rows of " + std::to_string(*row) +
                        " bytes at offset " + std::to_string(offset) + " after byte " +
                        std::to_string(start) + " exceeds the file, which has " +
                        std::to_string(file_size) + " bytes; is the download complete?");
      }
      tensor.data = file_.bytes_.subspan(static_cast<std::size_t>(start + offset),
                                         static_cast<std::size_t>(*row * tensor.rows()));
    }
    return {};
  }

  Status check_overlap() const {
    std::vector<const TensorView*> order;
    for (const TensorView& tensor : file_.tensors_) order.push_back(&tensor);
    std::sort(order.begin(), order.end(), [](const TensorView* a, const TensorView* b) {
      return a->data.data() < b->data.data();
    });
    for (std::size_t i = 1; i < order.size(); ++i) {
      const TensorView& before = *order[i - 1];
      if (before.data.end() > order[i]->data.begin()) {
        return tensor_error(*order[i], "overlaps tensor '" + printable(before.name) + "'");
      }
    }
    return {};
  }

  /// "FILE: tensor 'NAME' (Q4_K [640, 2048]) WHAT"
  Error tensor_error(const TensorView& tensor, const std::string& what) const {
    return Error(ErrorCode::format, file_.name_ + ": tensor '" + printable(tensor.name) + "' (" +
                                        quant::dtype_name(tensor.type) + " " +
                                        shape_text(tensor.shape) + ") " + what);
  }

  Error unsupported(const std::string& what) const {
    return Error(ErrorCode::unsupported, file_.name_ + ": " + what);
  }

  File& file_;
  ByteReader reader_;
  std::uint64_t tensor_count_ = 0;
  std::uint64_t entry_count_ = 0;
  std::vector<std::uint64_t> offsets_;
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

GEMMA_INLINE const Value* File::find(std::string_view key) const {
  const auto found = entry_index_.find(key);
  return found == entry_index_.end() ? nullptr : &entries_[found->second].value;
}

GEMMA_INLINE const TensorView* File::find_tensor(std::string_view name) const {
  const auto found = tensor_index_.find(name);
  return found == tensor_index_.end() ? nullptr : &tensors_[found->second];
}

GEMMA_INLINE Error File::key_error(std::string_view key, const std::string& what) const {
  return Error(ErrorCode::format, name_ + ": key '" + printable(key) + "' " + what);
}

}  // namespace gguf
GEMMA_NAMESPACE_END

#endif  // GEMMA_FORMATS_IMPL_GGUF_INL_HPP_
