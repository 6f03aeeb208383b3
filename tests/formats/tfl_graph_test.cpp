// Graphs of TFLite: operators, constants and signatures come back as written, and what is wrong is named.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "formats/tfl_graph_builder.hpp"
#include "gemma/base/bytes.hpp"
#include "gemma/formats/tfl_graph.hpp"
#include "gemma/formats/zip.hpp"
#include "mediapipe_samples.hpp"
#include "temp_folder.hpp"

using namespace gemma;

namespace {

/// y = tanh(norm(x) · w), with weights of each kind.
TflGraphBuilder sample() {
  TflGraphBuilder g;
  const std::int32_t x = g.value({1, 32});
  const std::int32_t gain = g.floats({32}, std::vector<float>(32, 1.5f));
  const std::int32_t rows = g.add({"rows", 9, {3, 32}, ByteVector(96, 7), {0.5f, 1.0f, 2.0f}, {0, 0, 1}, 0, 0, -1});
  const std::int32_t scales = g.add({"scales", 1, {2, 1}, ByteVector(4, 0x3C), {}, {}, 0, 0, -1});
  const std::int32_t blocks = g.add({std::string(300, 'n') + "blocks", 17, {2, 32}, ByteVector(32, 0x21), {}, {}, 0, 32, scales});
  const std::int32_t n = g.op(206, {x, gain}, {1, 32}, "odml.rms_norm");
  const std::int32_t y = g.op(9, {n, rows, -1}, {1, 3});
  g.op(9, {n, blocks}, {1, 2});
  g.op(32, {x}, {1}, "DISPATCH_OP");
  const std::int32_t z = g.op(28, {y}, {1, 3});
  g.inputs.push_back({"tokens", x});
  g.outputs.push_back({"logits", z});
  return g;
}

Result<tfl::Graph> read(const ByteVector& bytes) { return tfl::read_graph(Bytes(bytes), "decode", "m.tflite"); }

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
#define CHECK_CONTAINS(text, part) CHECK_MESSAGE(contains(text, part), (text))

std::string refusal(const TflGraphBuilder& g) {
  const auto graph = read(g.build());
  if (graph.ok()) return "(accepted)";
  CHECK(graph.error().message().rfind("m.tflite: ", 0) == 0);
  return graph.error().message();
}

/// Uses all of a graph, so that a sanitizer sees any view out of bounds.
std::uint64_t touch(const tfl::Graph& graph) {
  std::uint64_t sum = 0;
  for (const tfl::GraphTensor& t : graph.tensors) {
    for (const Bytes bytes : {t.data, t.quantization.scales, t.quantization.zeros}) {
      for (const std::uint8_t byte : bytes) sum += byte;
    }
    if (t.quantization.block_scales >= 0) sum += graph.tensors[static_cast<std::size_t>(t.quantization.block_scales)].name.size();
  }
  for (const tfl::GraphOp& op : graph.ops) {
    for (const std::vector<std::int32_t>* list : {&op.inputs, &op.outputs}) {
      for (const std::int32_t n : *list) sum += n < 0 ? 0 : graph.tensors[static_cast<std::size_t>(n)].shape.size();
    }
  }
  for (const tfl::GraphPort& port : graph.inputs) sum += graph.tensors[static_cast<std::size_t>(port.tensor)].shape.size();
  return sum;
}

}  // namespace

TEST_CASE("operators and constants of a graph come back as written, inside the tables or behind them") {
  for (const std::size_t outside : {std::size_t{0}, std::size_t{64}, std::size_t{100000}}) {
    TflGraphBuilder g = sample();
    g.outside_from = outside;
    const ByteVector bytes = g.build();
    const auto graph = read(bytes);
    REQUIRE_MESSAGE(graph.ok(), graph.error().message());
    REQUIRE(graph->ops.size() == 5);
    CHECK(graph->ops[0].op == tfl::Op::composite);
    CHECK(graph->ops[0].name == "odml.rms_norm");
    CHECK(graph->ops[1].op == tfl::Op::fully_connected);
    CHECK(graph->ops[1].inputs == g.ops[1].inputs);
    CHECK(graph->ops[1].outputs == g.ops[1].outputs);
    CHECK(graph->ops[3].op == tfl::Op::custom);
    CHECK(graph->ops[3].name == "DISPATCH_OP");
    REQUIRE(graph->inputs.size() == 1);
    CHECK(graph->inputs[0].name == "tokens");
    CHECK(graph->outputs[0].tensor == g.outputs[0].tensor);
    CHECK(graph->tensors[0].data.empty());
    const tfl::GraphTensor& rows = graph->tensors[2];
    CHECK(rows.type == tfl::TensorType::i8);
    CHECK(rows.shape == std::vector<std::int32_t>{3, 32});
    CHECK(rows.data.size() == 96);
    REQUIRE(rows.quantization.scales.size() == 12);
    CHECK(load_le<float>(rows.quantization.scales.data() + 8) == 2.0f);
    REQUIRE(rows.quantization.zeros.size() == 24);
    CHECK(load_le<std::int64_t>(rows.quantization.zeros.data() + 16) == 1);
    const tfl::GraphTensor& blocks = graph->tensors[4];
    CHECK(blocks.name == std::string(94, 'n') + "blocks");
    CHECK(blocks.type == tfl::TensorType::i4);
    CHECK(blocks.quantization.block_size == 32);
    CHECK(blocks.quantization.block_scales == 3);
    CHECK(blocks.quantization.block_zeros == -1);
  }
}

TEST_CASE("what is wrong with a graph is named") {
  TflGraphBuilder other = sample();
  other.signature = "prefill";
  CHECK_CONTAINS(refusal(other), "the graph has no signature 'decode'; those that it has are prefill");
  TflGraphBuilder far = sample();
  far.ops[1].inputs[0] = 10;
  CHECK_CONTAINS(refusal(far), "tensor 10 is named, but there are 10");
  TflGraphBuilder port = sample();
  port.inputs[0].tensor = -2;
  CHECK_CONTAINS(refusal(port), "tensor -2 is named");
  TflGraphBuilder scales = sample();
  scales.tensors[4].block_scales = 99;
  CHECK_CONTAINS(refusal(scales), "tensor 99 is named");
  const ByteVector whole = sample().build();
  const auto cut = read(ByteVector(whole.begin(), whole.end() - 1));
  REQUIRE_FALSE(cut.ok());
  CHECK_CONTAINS(cut.error().message(), "is the download complete?");
  CHECK_CONTAINS(read(bytes_of_text("<html>")).error().message(), "is not a TFLite file, it begins with '<html>'");
}

TEST_CASE("a graph cut anywhere, or with any bit flipped, is refused or read, and never crashes") {
  ByteVector bytes = sample().build();
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const ByteVector cut(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
    const auto graph = read(cut);
    if (graph.ok()) touch(*graph);
  }
  std::size_t refused = 0;
  for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    const auto flip = static_cast<std::uint8_t>(1 << bit % 8);
    bytes[bit / 8] ^= flip;
    const auto graph = read(bytes);
    refused += !graph.ok();
    if (graph.ok()) touch(*graph);
    bytes[bit / 8] ^= flip;
  }
  CHECK(refused > bytes.size() / 2);
}

TEST_CASE("the graph that an exporter wrote") {
  const std::string name = "gemma3_q4_block32_ekv64.task";
  const std::string folder = mediapipe_samples(name);
  if (folder.empty()) return;
  const ByteVector bytes = bytes_of_text(file_text(folder + name));
  const Bytes file = zip::read_entries(Bytes(bytes), name).value()[0].data;
  const auto graph = tfl::read_graph(file, "decode", name);
  REQUIRE_MESSAGE(graph.ok(), graph.error().message());
  CHECK(graph->ops.size() == 127);
  CHECK(graph->inputs.size() == 7);
  CHECK(graph->outputs.size() == 5);
  CHECK(touch(*graph) > 0);
  CHECK_CONTAINS(tfl::read_graph(file, "other", name).error().message(), "are prefill_8, prefill_32, decode");
}
