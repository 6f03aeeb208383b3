// MediaPipe's .task bundles and LiteRT-LM's files: whatever way their graphs were written, they give the
// numbers they were made of, and the same text as those numbers in a GGUF file.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "formats/bundle_builder.hpp"
#include "formats/tfl_builder.hpp"
#include "gemma/formats/zip.hpp"
#include "gemma/generate/mediapipe_bundle.hpp"
#include "gemma/generate/model.hpp"
#include "generate/decoder_file.hpp"
#include "generate/mediapipe_file.hpp"
#include "generate/same_model.hpp"
#include "mediapipe_samples.hpp"
#include "temp_folder.hpp"
#include "test_data.hpp"

using namespace gemma;

namespace {

constexpr const char* kModels[] = {"gemma1_mqa", "gemma1_mha", "gemma2_swa", "gemma3_swa", "gemma3_linear8", "gemma3_gqa4"};

std::vector<DecoderStyle> styles() {
  std::vector<DecoderStyle> all;
  for (const auto qkv : {DecoderStyle::interleaved, DecoderStyle::plain, DecoderStyle::separate}) {
    all.push_back({qkv, 8, 0, true, true, true, true});
    all.push_back({qkv, 4, 32, false, true, true, true});
  }
  all.push_back({DecoderStyle::interleaved, 8, 0, true, false, false, false});
  all.push_back({DecoderStyle::interleaved, 4, 0, true, true, true, true});
  all.push_back({DecoderStyle::plain, 4, 0, true, true, false, true});
  all.push_back({DecoderStyle::interleaved, 8, 32, true, true, true, true});
  all.push_back({DecoderStyle::interleaved, 16, 0, true, true, true, true});
  all.push_back({DecoderStyle::plain, 32, 0, true, true, true, true});
  return all;
}

ByteVector tokenizer_of(const Model& source) {
  const std::string name = source.config().vocab_size < 768 ? "gemma1_mqa" : "gemma3_swa";
  return bytes_of_text(file_text(data_path("golden/" + name + "/hf/tokenizer.model")));
}

ZipBuilder task_of(const ByteVector& graph, const ByteVector& tokenizer) {
  ZipBuilder zip;
  zip.add("TF_LITE_PREFILL_DECODE", graph);
  zip.add("TOKENIZER_MODEL", tokenizer);
  const ByteVector turn =
      ProtoBytes().text(2, "<start_of_turn>user\n").text(3, "<end_of_turn>\n<start_of_turn>model\n").take();
  zip.add("METADATA", ProtoBytes().text(6, "<bos>").text(5, "<eos>").bytes(8, turn).take());
  return zip;
}

LitertlmBuilder litertlm_of(const ByteVector& graph, const ByteVector& tokenizer, const ProtoBytes& more = {}) {
  const auto id = [](std::uint64_t n) { return ProtoBytes().message(1, ProtoBytes().number(1, n)); };
  ByteVector metadata = ProtoBytes().message(1, id(2)).message(2, id(1)).take();
  append_bytes(metadata, more.take());
  LitertlmBuilder file;
  file.sections.push_back({5, "", metadata});
  file.sections.push_back({3, "tf_lite_vision_encoder", bytes_of_text("not read")});
  file.sections.push_back({77, "", bytes_of_text("of a later release")});
  file.sections.push_back({4, "", tokenizer});
  file.sections.push_back({3, "tf_lite_prefill_decode", graph});
  return file;
}

/// Calls f(source, style) for each model in each style.
template <class F>
void for_every_style(const F& f) {
  for (const char* name : kModels) {
    const Model source = golden(name);
    for (const DecoderStyle& style : styles()) {
      CAPTURE(name);
      CAPTURE(style.qkv);
      CAPTURE(style.bits);
      CAPTURE(style.block);
      CAPTURE(style.composites);
      f(source, style);
    }
  }
}

void check_same_tensors(const Model& a, const Model& b) {
  CHECK(a.source().gguf_names() == b.source().gguf_names());
  for (const std::string& name : a.source().gguf_names()) {
    const TensorView& x = *a.source().find_tensor(name);
    const TensorView& y = *b.source().find_tensor(name);
    CHECK(x.type == y.type);
    CHECK(x.shape == y.shape);
    CHECK(std::equal(x.data.begin(), x.data.end(), y.data.begin(), y.data.end()));
    for (std::size_t r = 0; x.row_scale != nullptr && r < x.rows(); ++r) CHECK(x.row_scale[r] == y.row_scale[r]);
  }
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
#define CHECK_CONTAINS(text, part) CHECK_MESSAGE(contains(text, part), (text))

std::string refusal(const ByteVector& bytes) {
  const Result<Model> model = try_load_bytes(Bytes(bytes), "m");
  if (model.ok()) return "(accepted)";
  CHECK(model.error().message().rfind("m: ", 0) == 0);
  return model.error().message();
}

/// The message about a graph that was spoilt.
std::string graph_refusal(const std::function<void(TflGraphBuilder&)>& spoil, const DecoderStyle& style = {}) {
  const Model source = golden("gemma3_swa");
  DecoderFile file(source, style);
  spoil(file.g);
  return refusal(task_of(file.g.build(), tokenizer_of(source)).build());
}

/// The arrays of an .npz file of float32.
std::map<std::string, std::vector<float>> read_npz(const std::string& path) {
  std::map<std::string, std::vector<float>> arrays;
  const ByteVector bytes = bytes_of_text(file_text(path));
  for (const zip::Entry& entry : zip::read_entries(Bytes(bytes), path).value()) {
    REQUIRE(entry.method == 0);
    const std::string head(entry.data.begin(), entry.data.begin() + 100);
    REQUIRE(contains(head, "'descr': '<f4', 'fortran_order': False"));
    const std::size_t begin = 10 + load_le<std::uint16_t>(entry.data.data() + 8);
    std::vector<float> numbers((entry.data.size() - begin) / 4);
    std::memcpy(numbers.data(), entry.data.data() + begin, numbers.size() * 4);
    arrays[entry.name.substr(0, entry.name.size() - 4)] = numbers;
  }
  return arrays;
}

/// The tokenizer of the samples is of no Gemma, and has more pieces than the model has tokens.
ByteVector small_tokenizer() {
  const std::string path = data_path("mediapipe/gemma3_q4.task");
  const ByteVector bytes = bytes_of_text(file_text(path));
  for (const zip::Entry& entry : zip::read_entries(Bytes(bytes), path).value()) {
    if (entry.name != "TOKENIZER_MODEL") continue;
    const auto unpacked = zip::unpack(entry, path).value();
    return ByteVector(unpacked.data(), unpacked.data() + unpacked.size());
  }
  return {};
}

/// What the sample's weights are called in its checkpoint, and where their rows begin there.
std::string checkpoint_name(const std::string& gguf, std::size_t* row) {
  *row = 0;
  if (gguf == "token_embd.weight") return "tok_embedding.weight";
  if (gguf == "output_norm.weight") return "final_norm.weight";
  const std::string layer = "transformer_blocks." + gguf.substr(4, 1) + ".";
  const std::string name = gguf.substr(6, gguf.size() - 13);
  if (name == "attn_k") *row = 256;
  if (name == "attn_v") *row = 320;
  const std::map<std::string, std::string> names = {
      {"attn_norm", "pre_atten_norm"}, {"attn_q", "atten_func.qkv_projection"},
      {"attn_k", "atten_func.qkv_projection"}, {"attn_v", "atten_func.qkv_projection"},
      {"attn_output", "atten_func.output_projection"}, {"attn_q_norm", "atten_func.query_norm"},
      {"attn_k_norm", "atten_func.key_norm"}, {"post_attention_norm", "post_atten_norm"},
      {"ffn_norm", "ff.pre_ff_norm"}, {"ffn_gate", "ff.w1"}, {"ffn_up", "ff.w3"}, {"ffn_down", "ff.w2"},
      {"post_ffw_norm", "ff.post_ff_norm"}};
  return layer + names.at(name) + ".weight";
}

}  // namespace

TEST_CASE("graphs of every style hold the model that they were made of") {
  for_every_style([&](const Model& source, const DecoderStyle& style) {
    const DecoderFile file(source, style);
    CHECK(file.worst_error <= 0.5 + 1e-3);
    const auto model = try_load_bytes(task_of(file.g.build(), tokenizer_of(source)).build(), "m.task");
    REQUIRE_MESSAGE(model.ok(), model.error().message());
    const Config &a = source.config(), &b = model->config();
    CHECK(b.family == a.family);
    CHECK(b.context_length > DecoderFile::kContext);
    CHECK(b.attention_scale == a.attention_scale);
    CHECK(b.final_softcap == a.final_softcap);
    CHECK(b.attention_softcap == a.attention_softcap);
    REQUIRE(b.layers.size() == a.layers.size());
    for (std::size_t i = 0; i < a.layers.size(); ++i) {
      CHECK(b.layers[i].window == a.layers[i].window);
      CHECK(b.layers[i].rope_base == a.layers[i].rope_base);
      CHECK(b.layers[i].rope_scale == a.layers[i].rope_scale);
      CHECK(b.layers[i].kv_heads == a.layers[i].kv_heads);
    }
    CHECK((model->source().find_tensor("output.weight") == nullptr) == style.tied);
    CHECK(difference(source.config(), file.weights(), model->config(), model->weights()) == 0.0);
  });
}

TEST_CASE("a bundle and a .litertlm file write the text of the same weights in a GGUF file") {
  for (const char* name : {"gemma1_mha", "gemma2_swa", "gemma3_gqa4"}) {
    CAPTURE(name);
    const Model source = golden(name);
    for (const DecoderStyle& style : styles()) {
      const DecoderFile file(source, style);
      const auto task = try_load_bytes(task_of(file.g.build(), tokenizer_of(source)).build(), "m.task");
      const auto litertlm = try_load_bytes(litertlm_of(file.g.build(), tokenizer_of(source)).build(), "m.litertlm");
      REQUIRE_MESSAGE(task.ok(), task.error().message());
      REQUIRE_MESSAGE(litertlm.ok(), litertlm.error().message());
      CHECK(task->source().format() == "MediaPipe .task bundle");
      CHECK(litertlm->source().format() == "LiteRT-LM file");
      check_same_tensors(*task, *litertlm);
      CHECK(greedy(*task, 4) == greedy(*litertlm, 4));
      check_text(*task);
    }
  }
}

TEST_CASE("rows of 8 bits are used in place, others are laid out anew with progress") {
  const TempFolder folder;
  const Model source = golden("gemma3_gqa4");
  const auto write = [&](const std::string& name, const DecoderStyle& style) {
    const ByteVector bytes = task_of(DecoderFile(source, style).g.build(), tokenizer_of(source)).build();
    folder.write(name, std::string(bytes.begin(), bytes.end()));
    return folder.path(name);
  };
  std::vector<std::uint64_t> done;
  std::uint64_t total = 0;
  LoadOptions options;
  options.progress = [&](const Progress& p) {
    CHECK(p.step == "load");
    done.push_back(p.done);
    total = p.total;
    return true;
  };
  const std::string in_place = write("8.task", {DecoderStyle::plain, 8, 0, true, true, true, true});
  const std::string mixed = write("mixed.task", {DecoderStyle::interleaved, 8, 0, true, true, true, true});
  const std::string blocks = write("4.task", {DecoderStyle::plain, 4, 32, true, true, true, true});
  for (const FileAccess access : {FileAccess::map, FileAccess::memory, FileAccess::fastest}) {
    options.access = access;
    done.clear();
    const Model first = load(in_place, options);
    CHECK(done.empty());
    CHECK_FALSE(first.source().holds_copies());
    // Queries and keys of two groups lie between each other.
    const Model second = load(mixed, options);
    CHECK(second.source().holds_copies());
    CHECK(greedy(first, 1) == greedy(second, 1));
    done.clear();
    const Model third = load(blocks, options);
    CHECK(third.source().holds_copies());
    CHECK(done.size() == 1 + 7 * source.config().layers.size());
    CHECK(std::is_sorted(done.begin(), done.end()));
    CHECK(done.back() <= total);
  }
  options.progress = [](const Progress&) { return false; };
  const auto cancelled = try_load(blocks, options);
  REQUIRE_FALSE(cancelled.ok());
  CHECK(cancelled.error().code() == ErrorCode::cancelled);
}

TEST_CASE("bundles are read from every kind of zip") {
  const Model source = golden("gemma1_mqa");
  const ByteVector graph = DecoderFile(source, {}).g.build();
  ZipBuilder zip = task_of(graph, tokenizer_of(source));
  const auto padded = try_load_bytes(zip.build(), "m");
  REQUIRE(padded.ok());
  for (const bool wide : {false, true}) {
    zip.padded = false;
    zip.wide = wide;
    const auto plain = try_load_bytes(zip.build(), "m");
    REQUIRE_MESSAGE(plain.ok(), plain.error().message());
    check_same_tensors(*padded, *plain);
  }
  zip.wide = false;
  for (ZipBuilder::Entry& entry : zip.entries) {
    entry.size = entry.data.size();
    entry.checksum = zip_checksum(entry.data);
    entry.data = deflate_stored(entry.data);
    entry.method = 8;
  }
  const auto deflated = try_load_bytes(zip.build(), "m");
  REQUIRE_MESSAGE(deflated.ok(), deflated.error().message());
  check_same_tensors(*padded, *deflated);
}

TEST_CASE("tokens come from SentencePiece models and from packed tokenizer.json alike") {
  const Model source = golden("gemma3_swa");
  const ByteVector graph = DecoderFile(source, {}).g.build();
  const ByteVector json = bytes_of_text(file_text(data_path("golden/gemma3_swa/hf/tokenizer.json")));
  LitertlmBuilder file = litertlm_of(graph, tokenizer_of(source));
  const auto model = try_load_bytes(file.build(), "m");
  REQUIRE(model.ok());
  file.sections[3] = {6, "", bytes_of_numbers(std::vector<std::uint64_t>{json.size()})};
  append_bytes(file.sections[3].data, zlib_stored(json));
  const auto packed = try_load_bytes(file.build(), "m");
  REQUIRE_MESSAGE(packed.ok(), packed.error().message());
  for (const char* text : {"hello world", "  a b\n\nc", "<end_of_turn>", "\xE2\x82\xAC 5"}) {
    CHECK(packed->tokenizer().encode(text) == model->tokenizer().encode(text));
  }
  for (const Model* m : {&*model, &*packed}) {
    const Tokenizer& t = m->tokenizer();
    CHECK(t.bos() == 2);
    CHECK(m->is_stop(1));
    REQUIRE(t.find("<end_of_turn>").has_value());
    CHECK(m->is_stop(*t.find("<end_of_turn>")));
    for (const TokenId id : t.encode("a<end_of_turn>b")) CHECK(id != *t.find("<end_of_turn>"));
  }
  file.sections[3].data.back() ^= 1;
  CHECK_CONTAINS(refusal(file.build()), "m: section tokenizer.json (6): the packed data has another checksum");
  file.sections[3].data.resize(4);
  CHECK_CONTAINS(refusal(file.build()), "while reading the size of tokenizer.json");
}

TEST_CASE("templates of turns that the family knows are followed, and others remarked on") {
  const Model source = golden("gemma3_swa"), older = golden("gemma1_mqa");
  const ByteVector graph = DecoderFile(source, {}).g.build();
  const auto remark = [&](const ByteVector& bytes) {
    const auto model = try_load_bytes(Bytes(bytes), "m");
    REQUIRE_MESSAGE(model.ok(), model.error().message());
    return model->chat_format_remark();
  };
  CHECK(remark(task_of(graph, tokenizer_of(source)).build()).empty());
  CHECK(remark(task_of(DecoderFile(older, {}).g.build(), tokenizer_of(older)).build()).empty());
  const auto turn = [](const std::string& prefix, const std::string& suffix) {
    return ProtoBytes().text(1, prefix).text(2, suffix);
  };
  const auto with = [&](const ProtoBytes& more) { return litertlm_of(graph, tokenizer_of(source), more).build(); };
  CHECK(remark(with({})).empty());
  const ProtoBytes usual = ProtoBytes().message(1, turn("<start_of_turn>user\n", "<end_of_turn>\n"))
                               .message(2, turn("<start_of_turn>model\n", "<end_of_turn>\n"));
  CHECK(remark(with(ProtoBytes().message(3, usual))).empty());
  const ProtoBytes other = ProtoBytes().message(1, turn("<|im_start|>user\n", "'<|im_end|>'\n"));
  CHECK_CONTAINS(remark(with(ProtoBytes().message(3, other))), "it writes '<|im_start|>'");
  CHECK_CONTAINS(remark(with(ProtoBytes().text(7, "{{ 'You are a bot' }}"))), "it writes 'You are a bot'");

  // Weight files have templates as bundles do.
  MediapipeFile bin(older, {});
  CHECK(remark(bin.builder.build()).empty());
  const ByteVector odd = ProtoBytes().bytes(8, ProtoBytes().text(2, "<|im_start|>").take()).take();
  append_bytes(bin.builder.metadata[0].data, odd);
  CHECK_CONTAINS(remark(bin.builder.build()), "it writes '<|im_start|>'");
}

TEST_CASE("parts that are missing are named, with those that there are") {
  const Model source = golden("gemma3_swa");
  const ByteVector graph = DecoderFile(source, {}).g.build();
  for (const char* name : {"TF_LITE_PREFILL_DECODE", "TOKENIZER_MODEL", "METADATA"}) {
    ZipBuilder zip = task_of(graph, tokenizer_of(source));
    for (ZipBuilder::Entry& e : zip.entries) {
      if (e.name == name) e.name = "TF_LITE_VISION_ENCODER";
    }
    CHECK_CONTAINS(refusal(zip.build()), "m: entry '" + std::string(name) + "' is missing; the file holds TF_LITE_");
  }
  const auto without = [&](std::size_t section) {
    LitertlmBuilder file = litertlm_of(graph, tokenizer_of(source));
    file.sections[section].kind = 1;
    return refusal(file.build());
  };
  CHECK_CONTAINS(without(0), "m: a section LlmMetadata is missing; the file holds generic (1), TFLite (3) tf_lite_vision");
  CHECK_CONTAINS(without(3), "a section with a tokenizer is missing; the file holds LlmMetadata (5)");
  CHECK_CONTAINS(without(4), "a TFLite section of the model_type 'tf_lite_prefill_decode' is missing");
  LitertlmBuilder apart = litertlm_of(graph, tokenizer_of(source));
  apart.sections.push_back({7, "tf_lite_vision_encoder", bytes_of_text("not read")});
  CHECK(try_load_bytes(apart.build(), "m").ok());
  apart.sections.push_back({7, "tf_lite_prefill_decode", bytes_of_text("numbers")});
  CHECK_CONTAINS(refusal(apart.build()), "apart, in a section TFLite weights (7) tf_lite_prefill_decode");
  const auto typed = [&](std::uint64_t type) {
    const ProtoBytes more = ProtoBytes().message(6, ProtoBytes().message(type, ProtoBytes()));
    return refusal(litertlm_of(graph, tokenizer_of(source), more).build());
  };
  CHECK(typed(1) == "(accepted)");
  CHECK(typed(4) == "(accepted)");
  CHECK_CONTAINS(typed(2), "m: section TFLite (3) tf_lite_prefill_decode: holds a model of type 2 of LlmMetadata");
  CHECK_CONTAINS(typed(8), "not Gemma 3n (2), Gemma 4 (8)");
}

TEST_CASE("a section that is a container of weights is read as one") {
  const Model source = golden("gemma1_mqa");
  const ByteVector container = MediapipeFile(source, {true, 8, 4, 8, true, true, ".w"}).builder.build();
  LitertlmBuilder file = litertlm_of(container, tokenizer_of(source));
  file.sections[4].model_type = "tf_lite_artisan_text_decoder";
  const auto model = try_load_bytes(file.build(), "m");
  REQUIRE_MESSAGE(model.ok(), model.error().message());
  const auto alone = try_load_bytes(ByteVector(container), "m");
  REQUIRE(alone.ok());
  check_same_tensors(*alone, *model);
  CHECK(greedy(*alone, 1) == greedy(*model, 1));
}

TEST_CASE("graphs that are no Gemma's are told what they lack") {
  const auto each_op = [](std::uint32_t code, const std::function<void(TflGraphBuilder::Op&)>& f) {
    return [=](TflGraphBuilder& g) {
      for (TflGraphBuilder::Op& op : g.ops) {
        if (op.code == code) f(op);
      }
    };
  };
  CHECK(graph_refusal([](TflGraphBuilder&) {}) == "(accepted)");
  CHECK_CONTAINS(graph_refusal([](TflGraphBuilder& g) { g.signature = "prefill"; }),
                 "m: TF_LITE_PREFILL_DECODE: the graph has no signature 'decode'; those that it has are prefill");
  CHECK_CONTAINS(graph_refusal([](TflGraphBuilder& g) { g.outputs.pop_back(); }), "the graph gives no 'logits'");
  CHECK_CONTAINS(graph_refusal([](TflGraphBuilder& g) { g.ops.push_back({32, "DISPATCH_OP", {}, {}}); }),
                 "is compiled for the NPU");
  CHECK_CONTAINS(graph_refusal(each_op(150, [](auto& op) { op.code = 14; })), "has gates by SiLU, not GELU");
  CHECK_CONTAINS(graph_refusal(each_op(9, [](auto& op) { op.inputs[2] = 0; })), "has a bias in ");
  CHECK_CONTAINS(graph_refusal(each_op(206, [](auto& op) { op.name = "odml.layer_norm"; })),
                 "has no norm before the output head");
  CHECK_CONTAINS(graph_refusal(each_op(7, [](auto& op) { op.code = 99; })), "does not look up its tokens in a matrix");
  CHECK_CONTAINS(graph_refusal([](TflGraphBuilder& g) { g.inputs.erase(g.inputs.begin() + 3); }),
                 "has caches of 5 layers, but the weights of 6");
  CHECK_CONTAINS(graph_refusal([](TflGraphBuilder& g) {
    g.tensors[static_cast<std::size_t>(g.ops[3].inputs[1])].data = bytes_of_numbers(std::vector<float>{1.0f});
  }), "does not multiply its embedding by the root of its width");
  const auto spoil_weights = [](const std::function<void(TflGraphBuilder::Tensor&)>& f) {
    return [=](TflGraphBuilder& g) {
      for (TflGraphBuilder::Tensor& t : g.tensors) {
        if (t.name.rfind("weights", 0) == 0) f(t);
      }
    };
  };
  CHECK_CONTAINS(graph_refusal(spoil_weights([](auto& t) { t.type = 19; })), "has numbers of TFLite's type 19; this version");
  CHECK_CONTAINS(graph_refusal(spoil_weights([](auto& t) { t.scales.pop_back(); })), "scales or zero points along dimension 0");
  CHECK_CONTAINS(graph_refusal(spoil_weights([](auto& t) { t.data.pop_back(); })), "bytes, expected 768 rows of 64");
  CHECK_CONTAINS(graph_refusal(spoil_weights([](auto& t) { t.dimension = 1; })), "along dimension 1, expected 768");
  CHECK_CONTAINS(graph_refusal(spoil_weights([](auto& t) { t.shape = {t.shape[0], 1, t.shape[1]}; })),
                 "has no matrix for the output head");
  const DecoderStyle blocks = {DecoderStyle::plain, 4, 32, true, true, true, true};
  CHECK_CONTAINS(graph_refusal(spoil_weights([](auto& t) { t.block_size = t.block_size == 0 ? 0 : 16; }), blocks),
                 "has blocks of 16 numbers in rows of 64; multiples of 32");
  CHECK_CONTAINS(graph_refusal(spoil_weights([](auto& t) { t.block_scales = -1; }), blocks), "has blocks without scales");
  CHECK_CONTAINS(graph_refusal(spoil_weights([](auto& t) {
    if (t.type == 1) t.data.pop_back();
  }), blocks), "expected 1536 float16 scales");
}

TEST_CASE("a graph alone has no tokenizer, which is said") {
  const ByteVector graph = DecoderFile(golden("gemma3_swa"), {}).g.build();
  CHECK_CONTAINS(refusal(graph), "m: is a TFLite graph without a tokenizer");
  CHECK_CONTAINS(refusal(graph), ".task bundles");
}

TEST_CASE("a bundle with any bit of its tables flipped is refused or runs") {
  const Model source = golden("gemma3_gqa4");
  for (const DecoderStyle& style : {DecoderStyle{DecoderStyle::interleaved, 4, 32, true, true, true, true},
                                    DecoderStyle{DecoderStyle::separate, 8, 0, false, true, true, true}}) {
    const DecoderFile file(source, style);
    ByteVector graph = file.g.build();
    std::size_t tables = graph.size();
    for (const auto& t : file.g.tensors) {
      if (t.data.size() >= file.g.outside_from) tables -= (t.data.size() + 15) / 16 * 16;
    }
    ByteVector bytes = task_of(graph, tokenizer_of(source)).build();
    std::size_t refused = 0, tried = 0;
    for (std::size_t bit = 400; bit < 8 * tables; bit += 101) {
      CAPTURE(bit);
      bytes[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
      const auto model = try_load_bytes(Bytes(bytes), "m");
      ++tried;
      refused += !model.ok();
      if (model.ok() && tried % 64 == 0) run_or_refuse(*model);
      bytes[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
    }
    CHECK(refused > tried / 10);
    CHECK(refused < tried);
  }
}

TEST_CASE("a bundle whose graph an exporter wrote, deflated, writes the text of its weights in a GGUF file") {
  const Model model = load(data_path("mediapipe/gemma3_q4.task"));
  CHECK(model.config().family == Family::gemma3);
  CHECK(model.config().layers[0].window == 512);  // the export's cache has 64 positions
  CHECK(model.config().layers[0].rope_base == 10000.0f);
  CHECK(model.config().context_length == 32768);
  CHECK(model.config().attention_scale == 0.125f);
  CHECK(model.source().find_tensor("blk.0.attn_q.weight")->type == DType::Q4_0);
  check_text(model);

  // Its numbers are GGUF's already.
  const TempFolder folder;
  REQUIRE(quantize(model, keep_scheme(), folder.path("m.gguf")).ok());
  const Model converted = load(folder.path("m.gguf"));
  for (const std::string& name : model.source().gguf_names()) {
    const TensorView& a = *model.source().find_tensor(name);
    const TensorView& b = *converted.source().find_tensor(name);
    CHECK(a.type == b.type);
    CHECK(std::equal(a.data.begin(), a.data.end(), b.data.begin(), b.data.end()));
  }
}

TEST_CASE("samples of exporters hold the checkpoint that they were made of") {
  const std::string folder = mediapipe_samples("gemma3_q8_ekv64.task");
  if (folder.empty()) return;
  const auto checkpoint = read_npz(folder + "gemma3_sd.npz");
  const ByteVector tokenizer = small_tokenizer();
  for (const std::string kind : {"q8", "q4_block32"}) {
    CAPTURE(kind);
    const std::string path = folder + "gemma3_" + kind + "_ekv64";
    const ByteVector task = bytes_of_text(file_text(path + ".task")), other = bytes_of_text(file_text(path + ".litertlm"));
    // As they are: what cannot be read is only the tokenizer.
    CHECK_CONTAINS(refusal(task), "TOKENIZER_MODEL: is a SentencePiece model that puts a space before every text");
    const mediapipe::BundleParts a = mediapipe::read_parts(Bytes(task), "m").value();
    const mediapipe::BundleParts b = mediapipe::read_parts(Bytes(other), "m").value();
    const auto model = try_load_bytes(task_of(ByteVector(a.graph.begin(), a.graph.end()), tokenizer).build(), "m");
    const auto same = try_load_bytes(litertlm_of(ByteVector(b.graph.begin(), b.graph.end()), tokenizer).build(), "m");
    REQUIRE_MESSAGE(model.ok(), model.error().message());
    REQUIRE_MESSAGE(same.ok(), same.error().message());
    check_same_tensors(*model, *same);
    check_text(*model);
    double worst = 0.0;
    std::size_t numbers = 0;
    for (const std::string& name : model->source().gguf_names()) {
      std::size_t row = 0;
      const std::vector<float>& original = checkpoint.at(checkpoint_name(name, &row));
      const WeightMatrix m = matrix_of(*model->source().find_tensor(name));
      std::vector<float> x(m.cols);
      for (std::size_t r = 0; r < m.rows; ++r) {
        quant::decode_row(m, r, x.data());
        const float* wanted = original.data() + (row + r) * m.cols;
        for (std::size_t c = 0; c < m.cols; ++c, ++numbers) {
          if (m.type == DType::F32) {
            CHECK(x[c] == 1.0f + wanted[c]);
            continue;
          }
          const float step = m.row_scale != nullptr
                                 ? m.row_scale[r]
                                 : half_to_float(load_le<std::uint16_t>(m.row(r) + c / 32 * quant::block_bytes(m.type)));
          worst = (std::max)(worst, std::abs(double{x[c]} - double{wanted[c]}) / double{step});
        }
      }
    }
    CHECK(numbers > 200000);
    CHECK(worst <= 0.5 + (kind == "q8" ? 1e-3 : 4e-3));  // scales of blocks are rounded to float16
  }
}
