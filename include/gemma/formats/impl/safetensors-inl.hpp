// Bodies of safetensors.hpp.
#ifndef GEMMA_FORMATS_IMPL_SAFETENSORS_INL_HPP_
#define GEMMA_FORMATS_IMPL_SAFETENSORS_INL_HPP_

#include <algorithm>
#include <limits>
#include <set>

#include "gemma/base/bytes.hpp"
#include "gemma/formats/json.hpp"
#include "gemma/formats/safetensors.hpp"
#include "gemma/quant/registry.hpp"

GEMMA_NAMESPACE_BEGIN
namespace safetensors {
namespace detail {

/// One tensor's entry in the header.
class Entry {
 public:
  Entry(const std::string& file, const std::string& tensor, const json::Value& value)
      : where_(file + ": tensor '" + tensor + "' "), tensor_(tensor), value_(value) {}

  /// "F32", "BF16", …
  Result<std::string> type() const {
    if (!value_.is_object()) return wrong("has no description");
    const auto found = value_.find("dtype");
    if (found == value_.end() || !found->is_string()) return wrong("has no 'dtype'");
    return found->get<std::string>();
  }

  /// With its bytes, which lie in `data`.
  Result<TensorView> view(DType type, Bytes data) const {
    TensorView tensor;
    tensor.name = tensor_;
    tensor.type = type;
    GEMMA_TRY_ASSIGN(tensor.shape, integers("shape"));
    GEMMA_TRY_ASSIGN(const std::vector<std::uint64_t> offsets, integers("data_offsets"));
    if (offsets.size() != 2 || offsets[0] > offsets[1] || offsets[1] > data.size()) {
      return wrong("does not lie in the file, whose tensors take " + std::to_string(data.size()) +
                   " bytes; is the download complete?");
    }
    std::uint64_t elements = 1;
    for (const std::uint64_t n : tensor.shape) {
      if (n == 0) return wrong("has a dimension of 0");
      if (n > (std::numeric_limits<std::uint64_t>::max)() / 8 / elements) return wrong("is too large");
      elements *= n;
    }
    const std::uint64_t size = elements * quant::block_bytes(type);
    if (offsets[1] - offsets[0] != size) {
      return wrong("has " + std::to_string(offsets[1] - offsets[0]) + " bytes, but its shape needs " +
                   std::to_string(size));
    }
    if (tensor.shape.empty()) tensor.shape.push_back(1);
    std::reverse(tensor.shape.begin(), tensor.shape.end());
    tensor.data =
        data.subspan(static_cast<std::size_t>(offsets[0]), static_cast<std::size_t>(size));
    return tensor;
  }

 private:
  Error wrong(const std::string& what) const { return Error(ErrorCode::format, where_ + what); }

  Result<std::vector<std::uint64_t>> integers(const char* key) const {
    const auto found = value_.find(key);
    std::vector<std::uint64_t> out;
    if (found == value_.end() || !found->is_array()) {
      return wrong(std::string("has no list '") + key + "'");
    }
    for (const json::Value& element : *found) {
      if (!element.is_number_unsigned()) {
        return wrong(std::string("has something other than sizes in '") + key + "'");
      }
      out.push_back(element.get<std::uint64_t>());
    }
    return out;
  }

  std::string where_;
  const std::string& tensor_;
  const json::Value& value_;
};

/// The shard of each tensor, from an index file.
inline Result<std::map<std::string, std::string>> read_index(const std::string& path) {
  GEMMA_TRY_ASSIGN(const MappedFile file, MappedFile::open(path));
  GEMMA_TRY_ASSIGN(const json::Value document, json::parse(file.bytes(), path));
  const auto map = document.is_object() ? document.find("weight_map") : document.end();
  if (map == document.end() || !map->is_object() || map->empty()) {
    return Error(ErrorCode::format, path + ": key 'weight_map' is missing, or lists no tensors");
  }
  std::map<std::string, std::string> shard_of;
  for (const auto& [tensor, shard] : map->items()) {
    const std::string name = shard.is_string() ? shard.get<std::string>() : std::string();
    // A name only, so that an index can never lead out of its folder.
    if (name.empty() || name.find_first_of("/\\:") != std::string::npos) {
      return Error(ErrorCode::format, path + ": tensor '" + tensor + "' lies in '" + name +
                                          "', which is no name of a file in this folder");
    }
    shard_of[tensor] = name;
  }
  return shard_of;
}

}  // namespace detail

GEMMA_INLINE Result<Header> read_header(Bytes bytes, const std::string& name) {
  constexpr std::uint64_t kLongest = 100'000'000;  // of the specification
  ByteReader reader(bytes, name);
  GEMMA_TRY_ASSIGN(const std::uint64_t length,
                   reader.read<std::uint64_t>("the length of the header"));
  if (length > kLongest) {
    return Error(ErrorCode::format, name + ": is not a safetensors file (its header would be " +
                                        std::to_string(length) + " bytes long)");
  }
  GEMMA_TRY_ASSIGN(const Bytes text, reader.read_bytes(length, "the header"));
  GEMMA_TRY_ASSIGN(const json::Value document, json::parse(text, name));
  GEMMA_TRY(json::Object::of(document, name));
  const Bytes data = bytes.subspan(reader.offset());
  Header header;
  for (const auto& [tensor, value] : document.items()) {
    if (tensor == "__metadata__") continue;
    const detail::Entry entry(name, tensor, value);
    GEMMA_TRY_ASSIGN(const std::string type, entry.type());
    const bool known = type == "F32" || type == "F16" || type == "BF16";
    if (!known) {
      header.unsupported[tensor] = type;
      continue;
    }
    const DType dtype = type == "F32" ? DType::F32 : type == "F16" ? DType::F16 : DType::BF16;
    GEMMA_TRY_ASSIGN(TensorView view, entry.view(dtype, data));
    header.tensors.push_back(std::move(view));
  }
  return header;
}

GEMMA_INLINE Status Folder::add_file(const std::string& path, FileAccess access) {
  GEMMA_TRY_ASSIGN(MappedFile file, MappedFile::open(path, access));
  GEMMA_TRY_ASSIGN(Header header, read_header(file.bytes(), path));
  for (TensorView& tensor : header.tensors) {
    if (!index_.emplace(tensor.name, tensors_.size()).second) {
      return Error(ErrorCode::format,
                   path + ": tensor '" + tensor.name + "' lies in another file of the model, too");
    }
    tensors_.push_back(std::move(tensor));
  }
  unsupported_.merge(header.unsupported);
  files_.push_back(std::move(file));
  return {};
}

GEMMA_INLINE Result<Folder> Folder::open(const std::string& path, FileAccess access) {
  Folder folder;
  const std::string index = path + "/model.safetensors.index.json";
  const std::string single = path + "/model.safetensors";
  if (path_kind(index) == PathKind::nothing) {
    if (path_kind(single) == PathKind::nothing) {
      return Error(ErrorCode::io, path + ": this folder holds neither model.safetensors nor "
                                         "model.safetensors.index.json; is the download complete?");
    }
    GEMMA_TRY(folder.add_file(single, access));
    return folder;
  }
  GEMMA_TRY_ASSIGN(const auto shard_of, detail::read_index(index));
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : shard_of) shards.insert(shard);
  for (const std::string& shard : shards) {
    if (path_kind(path + "/" + shard) == PathKind::nothing) {
      return Error(ErrorCode::io, path + ": the shard " + shard +
                                      " is missing, which model.safetensors.index.json names; is "
                                      "the download complete?");
    }
    GEMMA_TRY(folder.add_file(path + "/" + shard, access));
  }
  for (const auto& [tensor, shard] : shard_of) {
    if (folder.index_.count(tensor) == 0 && folder.unsupported_.count(tensor) == 0) {
      return Error(ErrorCode::format, path + "/" + shard + ": tensor '" + tensor +
                                          "' is missing, which the index puts into this file");
    }
  }
  return folder;
}

GEMMA_INLINE const TensorView* Folder::find_tensor(const std::string& name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

GEMMA_INLINE std::string Folder::unsupported_type(const std::string& name) const {
  const auto found = unsupported_.find(name);
  return found == unsupported_.end() ? std::string() : found->second;
}

GEMMA_INLINE std::vector<std::string> Folder::paths() const {
  std::vector<std::string> paths;
  for (const MappedFile& file : files_) paths.push_back(file.path());
  return paths;
}

GEMMA_INLINE std::uint64_t Folder::file_bytes() const {
  std::uint64_t sum = 0;
  for (const MappedFile& file : files_) sum += file.bytes().size();
  return sum;
}

}  // namespace safetensors
GEMMA_NAMESPACE_END

#endif  // GEMMA_FORMATS_IMPL_SAFETENSORS_INL_HPP_
