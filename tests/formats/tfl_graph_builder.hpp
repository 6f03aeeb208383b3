// Builds TFLite graphs in memory: values, operators and one signature.
#ifndef GEMMA_TESTS_FORMATS_TFL_GRAPH_BUILDER_HPP_
#define GEMMA_TESTS_FORMATS_TFL_GRAPH_BUILDER_HPP_

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "formats/flat_builder.hpp"

/// Public fields are what a test may spoil.
class TflGraphBuilder {
 public:
  struct Tensor {
    std::string name;
    std::uint8_t type = 0;
    std::vector<std::int32_t> shape;
    ByteVector data;                   ///< of a constant
    std::vector<float> scales;
    std::vector<std::int64_t> zeros;
    std::int32_t dimension = 0;
    std::int32_t block_size = 0;
    std::int32_t block_scales = -1;
  };
  struct Op {
    std::uint32_t code;
    std::string name;  ///< of custom and composite ones
    std::vector<std::int32_t> inputs;
    std::vector<std::int32_t> outputs;
  };
  struct Port {
    std::string name;
    std::int32_t tensor;
  };

  std::string signature = "decode";
  std::vector<Tensor> tensors;
  std::vector<Op> ops;
  std::vector<Port> inputs;
  std::vector<Port> outputs;
  /// Constants of fewer bytes lie inside the tables.
  std::size_t outside_from = 64;

  std::int32_t add(Tensor tensor) {
    tensors.push_back(std::move(tensor));
    return static_cast<std::int32_t>(tensors.size()) - 1;
  }
  std::int32_t value(const std::vector<std::int32_t>& shape, std::uint8_t type = 0) {
    return add({"value" + std::to_string(tensors.size()), type, shape, {}, {}, {}, 0, 0, -1});
  }
  std::int32_t floats(const std::vector<std::int32_t>& shape, const std::vector<float>& numbers) {
    return add({"constant" + std::to_string(tensors.size()), 0, shape, bytes_of_numbers(numbers), {}, {}, 0, 0, -1});
  }
  std::int32_t number(float x) { return floats({}, {x}); }
  std::int32_t integers(const std::vector<std::int32_t>& numbers) {
    const auto count = static_cast<std::int32_t>(numbers.size());
    return add({"constant" + std::to_string(tensors.size()), 2, {count}, bytes_of_numbers(numbers), {}, {}, 0, 0, -1});
  }
  /// An operator with one result.
  std::int32_t op(std::uint32_t code, const std::vector<std::int32_t>& in, const std::vector<std::int32_t>& shape,
                  const std::string& name = "") {
    const std::int32_t out = value(shape);
    ops.push_back({code, name, in, {out}});
    return out;
  }

  ByteVector build() const {
    using namespace flat;
    ByteVector out(8);
    std::memcpy(out.data() + 4, "TFL3", 4);
    std::vector<const ByteVector*> payloads = {nullptr};
    std::vector<std::pair<std::size_t, const ByteVector*>> places;  // of those outside
    std::vector<Child> codes, list, buffers, operators;
    for (std::size_t i = 0; i < ops.size(); ++i) {
      const Op& o = ops[i];
      codes.push_back([&o](ByteVector& b) {
        const auto old = static_cast<std::uint8_t>(o.code < 127 ? o.code : 127);
        std::vector<Field> fields = {{0, {old}, {}}};
        if (o.code == 32) fields.push_back({1, {}, text(o.name)});
        fields.push_back({3, flat::number(o.code), {}});
        return table(b, fields);
      });
      operators.push_back([&o, i](ByteVector& b) {
        std::vector<Field> fields = {{0, flat::number(static_cast<std::uint32_t>(i)), {}},
                                     {1, {}, numbers(o.inputs)},
                                     {2, {}, numbers(o.outputs)}};
        if (o.code == 206) {
          fields.push_back({12, {}, [&o](ByteVector& inner) { return table(inner, {{0, {}, text(o.name)}}); }});
        }
        return table(b, fields);
      });
    }
    for (const Tensor& t : tensors) {
      std::uint32_t index = 0;
      if (!t.data.empty()) {
        index = static_cast<std::uint32_t>(payloads.size());
        payloads.push_back(&t.data);
      }
      list.push_back([&t, index](ByteVector& b) {
        return table(b, {{0, {}, numbers(t.shape)},
                         {1, {t.type}, {}},
                         {2, flat::number(index), {}},
                         {3, {}, text(t.name)},
                         {4, {}, [&t](ByteVector& inner) { return quantization(inner, t); }}});
      });
    }
    for (const ByteVector* payload : payloads) {
      buffers.push_back([this, payload, &places](ByteVector& b) {
        if (payload == nullptr) return table(b, {});
        if (payload->size() < outside_from) return table(b, {{0, {}, raw(payload->size(), *payload)}});
        const std::uint64_t size = payload->size();
        const std::size_t at = table(b, {{1, flat::number(std::uint64_t{2}), {}}, {2, flat::number(size), {}}});
        places.emplace_back(at + 4, payload);
        return at;
      });
    }
    const Child graph = [&](ByteVector& b) {
      return table(b, {{0, {}, flat::tables(list)}, {3, {}, flat::tables(operators)}, {4, {}, text("main")}});
    };
    const Child signatures = [&](ByteVector& b) {
      return table(b, {{0, {}, ports(inputs)}, {1, {}, ports(outputs)}, {2, {}, text(signature)},
                       {4, flat::number(std::uint32_t{0}), {}}});
    };
    const std::size_t root = table(out, {{0, flat::number(std::uint32_t{3}), {}},
                                         {1, {}, flat::tables(codes)},
                                         {2, {}, flat::tables({graph})},
                                         {4, {}, flat::tables(buffers)},
                                         {7, {}, flat::tables({signatures})}});
    store(out, 0, static_cast<std::uint32_t>(root));
    for (const auto& [at, payload] : places) {
      out.resize((out.size() + 15) / 16 * 16);
      store(out, at, static_cast<std::uint64_t>(out.size()));
      out.insert(out.end(), payload->begin(), payload->end());
    }
    return out;
  }

 private:
  static flat::Child raw(std::size_t count, const ByteVector& bytes) {
    return [count, bytes](ByteVector& b) {
      const std::size_t at = b.size();
      append_number(b, static_cast<std::uint32_t>(count));
      b.insert(b.end(), bytes.begin(), bytes.end());
      return at;
    };
  }

  static std::size_t quantization(ByteVector& b, const Tensor& t) {
    using namespace flat;
    std::vector<Field> fields;
    if (!t.scales.empty()) fields.push_back({2, {}, raw(t.scales.size(), bytes_of_numbers(t.scales))});
    if (!t.zeros.empty()) fields.push_back({3, {}, raw(t.zeros.size(), bytes_of_numbers(t.zeros))});
    if (t.block_size > 0) {
      fields.push_back({4, {std::uint8_t{2}}, {}});
      fields.push_back({5, {}, [&t](ByteVector& inner) {
        return table(inner, {{0, flat::number(t.block_scales), {}},
                             {1, flat::number(std::int32_t{-1}), {}},
                             {2, flat::number(t.block_size), {}}});
      }});
    }
    fields.push_back({6, flat::number(t.dimension), {}});
    return table(b, fields);
  }

  static flat::Child ports(const std::vector<Port>& all) {
    std::vector<flat::Child> children;
    for (const Port& port : all) {
      children.push_back([port](ByteVector& b) {
        return flat::table(b, {{0, {}, flat::text(port.name)}, {1, flat::number(port.tensor), {}}});
      });
    }
    return flat::tables(children);
  }
};

#endif  // GEMMA_TESTS_FORMATS_TFL_GRAPH_BUILDER_HPP_
