// Bodies of tfl_graph.hpp. No offset, length or count of the file is used unchecked.
#ifndef GEMMA_FORMATS_IMPL_TFL_GRAPH_INL_HPP_
#define GEMMA_FORMATS_IMPL_TFL_GRAPH_INL_HPP_

#include <algorithm>
#include <cstddef>
#include <optional>

#include "gemma/formats/file_kind.hpp"
#include "gemma/formats/flatbuffer.hpp"
#include "gemma/formats/metadata.hpp"
#include "gemma/formats/tfl_graph.hpp"

GEMMA_NAMESPACE_BEGIN
namespace tfl {
namespace detail {

/// Fills a Graph. Numbers of fields are those of schema.fbs.
class GraphParser {
 public:
  GraphParser(Bytes bytes, const std::string& name) : reader_(bytes, name), name_(name) {}

  Result<Graph> read(const std::string& wanted) {
    if (file_kind(reader_.bytes()) != FileKind::tflite) {
      return Error(ErrorCode::format,
                   name_ + ": is not a TFLite file, " + describe_start(reader_.bytes()));
    }
    GEMMA_TRY_ASSIGN(const std::size_t root, reader_.follow(0, "the model"));
    GEMMA_TRY_ASSIGN(model_, reader_.table(root, "the model"));
    GEMMA_TRY_ASSIGN(buffers_, reader_.vector(model_, 4, 4, "the list of buffers"));
    GEMMA_TRY_ASSIGN(const Table signature, find_signature(wanted));
    GEMMA_TRY_ASSIGN(const auto index,
                     reader_.number_or<std::uint32_t>(signature, 4, 0, "a number of a graph"));
    GEMMA_TRY_ASSIGN(const Vector graphs, reader_.vector(model_, 2, 4, "the list of graphs"));
    if (index >= graphs.count) {
      return reader_.error(signature.at, "signature '" + wanted + "' is of graph " +
                                             std::to_string(index) + " of " +
                                             std::to_string(graphs.count));
    }
    GEMMA_TRY_ASSIGN(const Table graph, reader_.element(graphs, index, "a graph"));
    GEMMA_TRY(read_codes());
    GEMMA_TRY(read_tensors(graph));
    GEMMA_TRY(read_ops(graph));
    GEMMA_TRY(read_ports(signature, 0, graph_.inputs));
    GEMMA_TRY(read_ports(signature, 1, graph_.outputs));
    return std::move(graph_);
  }

 private:
  static constexpr std::size_t kMostSignatures = 1000;
  static constexpr std::size_t kMostPorts = 2000;
  static constexpr std::size_t kMostCodes = 1000;
  static constexpr std::size_t kMostTensors = 100'000;
  static constexpr std::size_t kMostOps = 100'000;
  static constexpr std::size_t kMostOperands = 4000;          // of one operator
  static constexpr std::size_t kMostOperandsOfAll = 2'000'000;
  static constexpr std::size_t kMostDimensions = 8;

  struct Code {
    std::uint32_t number;
    std::string name;
  };

  Result<Table> find_signature(const std::string& wanted) {
    GEMMA_TRY_ASSIGN(const Vector list, reader_.vector(model_, 7, 4, "the list of signatures"));
    GEMMA_TRY(reader_.check_count(list, kMostSignatures, "signatures"));
    std::string all;
    for (std::size_t i = 0; i < list.count; ++i) {
      GEMMA_TRY_ASSIGN(const Table signature, reader_.element(list, i, "a signature"));
      GEMMA_TRY_ASSIGN(const std::string key, reader_.text(signature, 2, "a name of a signature"));
      if (key == wanted) return signature;
      all += (i == 0 ? "" : ", ") + gguf::printable(key);
    }
    return Error(ErrorCode::unsupported,
                 name_ + ": the graph has no signature '" + wanted + "'; " +
                     (all.empty() ? "it has none at all" : "those that it has are " + all));
  }

  Status read_codes() {
    GEMMA_TRY_ASSIGN(const Vector list, reader_.vector(model_, 1, 4, "the list of operator codes"));
    GEMMA_TRY(reader_.check_count(list, kMostCodes, "operator codes"));
    for (std::size_t i = 0; i < list.count; ++i) {
      GEMMA_TRY_ASSIGN(const Table table, reader_.element(list, i, "an operator code"));
      // The old field has 8 bits, and 127 where these are too few.
      GEMMA_TRY_ASSIGN(const auto old,
                       reader_.number_or<std::uint8_t>(table, 0, 0, "an operator code"));
      GEMMA_TRY_ASSIGN(const auto code,
                       reader_.number_or<std::uint32_t>(table, 3, 0, "an operator code"));
      GEMMA_TRY_ASSIGN(std::string name, reader_.text(table, 1, "a name of an operator"));
      codes_.push_back({(std::max)(code, std::uint32_t{old}), std::move(name)});
    }
    return {};
  }

  Status read_tensors(const Table& graph) {
    GEMMA_TRY_ASSIGN(const Vector list, reader_.vector(graph, 0, 4, "the list of tensors"));
    GEMMA_TRY(reader_.check_count(list, kMostTensors, "tensors"));
    graph_.tensors.reserve(list.count);
    for (std::size_t i = 0; i < list.count; ++i) {
      GEMMA_TRY_ASSIGN(const Table table, reader_.element(list, i, "a tensor"));
      GraphTensor tensor;
      GEMMA_TRY_ASSIGN(tensor.name, short_text(table, 3, "the name of a tensor"));
      const std::string what = "tensor '" + gguf::printable(tensor.name) + "'";
      GEMMA_TRY_ASSIGN(const auto type,
                       reader_.number_or<std::uint8_t>(table, 1, 0, "the type of a tensor"));
      tensor.type = static_cast<TensorType>(type);
      GEMMA_TRY_ASSIGN(tensor.shape, numbers(table, 0, kMostDimensions, "dimensions of " + what));
      GEMMA_TRY_ASSIGN(const auto index,
                       reader_.number_or<std::uint32_t>(table, 2, 0, "the buffer of a tensor"));
      if (index != 0) {
        GEMMA_TRY_ASSIGN(tensor.data, buffer_bytes(reader_, buffers_, index, what));
      }
      if (!tensor.data.empty()) GEMMA_TRY(read_quantization(table, list.count, tensor));
      graph_.tensors.push_back(std::move(tensor));
    }
    return {};
  }

  Status read_quantization(const Table& tensor_table, std::size_t tensors, GraphTensor& tensor) {
    constexpr std::uint8_t kBlocks = 2;  // BlockwiseQuantization
    Quantization& q = tensor.quantization;
    GEMMA_TRY_ASSIGN(const auto table, child(tensor_table, 4, "a quantization"));
    if (!table) return {};
    GEMMA_TRY_ASSIGN(q.scales, elements(*table, 2, sizeof(float), "scales"));
    GEMMA_TRY_ASSIGN(q.zeros, elements(*table, 3, sizeof(std::int64_t), "zero points"));
    GEMMA_TRY_ASSIGN(q.dimension, reader_.number_or<std::int32_t>(*table, 6, 0, "a dimension"));
    GEMMA_TRY_ASSIGN(const auto kind, reader_.number_or<std::uint8_t>(*table, 4, 0, "details"));
    if (kind == 0) return {};
    GEMMA_TRY_ASSIGN(const auto details, child(*table, 5, "details of a quantization"));
    if (kind != kBlocks || !details) {
      return Error(ErrorCode::unsupported,
                   name_ + ": tensor '" + gguf::printable(tensor.name) +
                       "' is quantised in a way of number " + std::to_string(kind) +
                       ", which this version does not know");
    }
    GEMMA_TRY_ASSIGN(q.block_scales, reader_.number_or<std::int32_t>(*details, 0, -1, "scales"));
    GEMMA_TRY_ASSIGN(q.block_zeros, reader_.number_or<std::int32_t>(*details, 1, -1, "zeros"));
    GEMMA_TRY_ASSIGN(q.block_size, reader_.number_or<std::int32_t>(*details, 2, 0, "a block size"));
    GEMMA_TRY(check_tensor(q.block_scales, tensors, details->at));
    return check_tensor(q.block_zeros, tensors, details->at);
  }

  Status read_ops(const Table& graph) {
    GEMMA_TRY_ASSIGN(const Vector list, reader_.vector(graph, 3, 4, "the list of operators"));
    GEMMA_TRY(reader_.check_count(list, kMostOps, "operators"));
    graph_.ops.reserve(list.count);
    std::size_t operands = 0;
    for (std::size_t i = 0; i < list.count; ++i) {
      GEMMA_TRY_ASSIGN(const Table table, reader_.element(list, i, "an operator"));
      GEMMA_TRY_ASSIGN(const auto index,
                       reader_.number_or<std::uint32_t>(table, 0, 0, "the code of an operator"));
      if (index >= codes_.size()) {
        return reader_.error(table.at, "operator " + std::to_string(i) + " has code " +
                                           std::to_string(index) + " of " +
                                           std::to_string(codes_.size()));
      }
      GraphOp op;
      op.op = static_cast<Op>(codes_[index].number);
      op.name = codes_[index].name;
      GEMMA_TRY_ASSIGN(op.inputs, numbers(table, 1, kMostOperands, "inputs of an operator"));
      GEMMA_TRY_ASSIGN(op.outputs, numbers(table, 2, kMostOperands, "outputs of an operator"));
      operands += op.inputs.size() + op.outputs.size();
      if (operands > kMostOperandsOfAll) return reader_.error(table.at, "names too many tensors");
      for (const std::vector<std::int32_t>* list_of : {&op.inputs, &op.outputs}) {
        for (const std::int32_t n : *list_of) {
          GEMMA_TRY(check_tensor(n, graph_.tensors.size(), table.at));
        }
      }
      if (op.op == Op::composite) {
        GEMMA_TRY_ASSIGN(const auto options, child(table, 12, "options of an operator"));
        if (options) {
          GEMMA_TRY_ASSIGN(op.name, reader_.text(*options, 0, "a name of a composite"));
        }
      }
      graph_.ops.push_back(std::move(op));
    }
    return {};
  }

  Status read_ports(const Table& signature, std::size_t slot, std::vector<GraphPort>& ports) {
    GEMMA_TRY_ASSIGN(const Vector list, reader_.vector(signature, slot, 4, "a list of inputs"));
    GEMMA_TRY(reader_.check_count(list, kMostPorts, "inputs or outputs"));
    for (std::size_t i = 0; i < list.count; ++i) {
      GEMMA_TRY_ASSIGN(const Table table, reader_.element(list, i, "an input"));
      GEMMA_TRY_ASSIGN(std::string name, reader_.text(table, 0, "the name of an input"));
      GEMMA_TRY_ASSIGN(const auto tensor, reader_.number_or<std::int32_t>(table, 1, 0, "an input"));
      GEMMA_TRY(check_tensor(tensor, graph_.tensors.size(), table.at));
      if (tensor >= 0) ports.push_back({std::move(name), tensor});
    }
    return {};
  }

  Status check_tensor(std::int32_t n, std::size_t tensors, std::size_t at) const {
    if (n >= -1 && n < static_cast<std::int64_t>(tensors)) return {};
    return reader_.error(at, "tensor " + std::to_string(n) + " is named, but there are " +
                                 std::to_string(tensors));
  }

  Result<std::optional<Table>> child(const Table& table, std::size_t slot, const char* what) const {
    using Child = std::optional<Table>;
    GEMMA_TRY_ASSIGN(const auto at, reader_.field(table, slot, what));
    if (!at) return Child();
    GEMMA_TRY_ASSIGN(const std::size_t place, reader_.follow(*at, what));
    GEMMA_TRY_ASSIGN(const Table found, reader_.table(place, what));
    return Child(found);
  }

  Result<Bytes> elements(const Table& table, std::size_t slot, std::size_t bytes,
                         const char* what) const {
    GEMMA_TRY_ASSIGN(const Vector vector, reader_.vector(table, slot, bytes, what));
    return reader_.bytes().subspan(vector.begin, vector.count * bytes);
  }

  Result<std::vector<std::int32_t>> numbers(const Table& table, std::size_t slot, std::size_t most,
                                            const std::string& what) const {
    GEMMA_TRY_ASSIGN(const Vector list, reader_.vector(table, slot, 4, what.c_str()));
    GEMMA_TRY(reader_.check_count(list, most, what));
    std::vector<std::int32_t> out;
    out.reserve(list.count);
    for (std::size_t i = 0; i < list.count; ++i) {
      out.push_back(load_le<std::int32_t>(reader_.bytes().data() + list.begin + 4 * i));
    }
    return out;
  }

  /// Names are paths of modules, of any length; what tells them apart is at the end.
  Result<std::string> short_text(const Table& table, std::size_t slot, const char* what) const {
    constexpr std::size_t kLongest = 100;
    GEMMA_TRY_ASSIGN(const Vector chars, reader_.vector(table, slot, 1, what));
    const auto* end = reader_.bytes().data() + chars.begin + chars.count;
    return std::string(end - (std::min)(chars.count, kLongest), end);
  }

  flatbuffer::Reader reader_;
  const std::string& name_;
  Table model_;
  Vector buffers_;
  std::vector<Code> codes_;
  Graph graph_;
};

}  // namespace detail

GEMMA_INLINE Result<Graph> read_graph(Bytes file, const std::string& signature,
                                      const std::string& name) {
  return detail::GraphParser(file, name).read(signature);
}

}  // namespace tfl
GEMMA_NAMESPACE_END

#endif  // GEMMA_FORMATS_IMPL_TFL_GRAPH_INL_HPP_
