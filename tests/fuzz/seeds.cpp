// Writes what libFuzzer begins with, a folder for each target: small valid files, made as the tests make
// theirs, and those of tests/data.
//
//   seeds FOLDER
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "formats/bundle_builder.hpp"
#include "formats/tfl_builder.hpp"
#include "generate/decoder_file.hpp"
#include "generate/lora.hpp"
#include "generate/mediapipe_file.hpp"
#include "generate/tiny_session.hpp"
#include "temp_folder.hpp"
#include "test_data.hpp"

namespace {

class Seeds {
 public:
  explicit Seeds(std::string folder) : folder_(std::move(folder)) {}
  void add(const std::string& target, const ByteVector& bytes) {
    const std::string path = folder_ + "/" + target;
    std::filesystem::create_directories(path);
    std::ofstream file(path + "/seed" + std::to_string(count_++), std::ios::binary);
    file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }

 private:
  std::string folder_;
  std::size_t count_ = 0;
};

/// What is before the weights.
ByteVector head_of(const ByteVector& bytes, std::size_t weights) {
  return ByteVector(bytes.begin(), bytes.end() - static_cast<std::ptrdiff_t>(weights));
}

ByteVector bytes_of_file(const std::string& path) { return bytes_of_text(file_text(path)); }
ByteVector data(const std::string& name) { return bytes_of_file(data_path(name)); }

void add_bundles(Seeds& seeds, const gemma::Model& source, const ByteVector& tokenizer, const DecoderStyle& style) {
  const DecoderFile file(source, style);
  const ByteVector graph = file.g.build();
  std::size_t weights = 0;
  for (const auto& t : file.g.tensors) weights += t.data.size() >= file.g.outside_from ? t.data.size() : 0;
  seeds.add("graph", head_of(graph, weights));
  ZipBuilder zip;
  zip.add("TF_LITE_PREFILL_DECODE", graph);
  zip.add("TOKENIZER_MODEL", tokenizer);
  const ByteVector turn = ProtoBytes().text(2, "<start_of_turn>user\n").text(3, "<end_of_turn>\n").take();
  const ByteVector parameters = ProtoBytes().text(6, "<bos>").text(5, "<eos>").bytes(8, turn).take();
  zip.add("METADATA", parameters);
  seeds.add("bundle", zip.build());
  const ByteVector metadata = ProtoBytes()
                                  .message(1, ProtoBytes().message(1, ProtoBytes().number(1, 2)))
                                  .message(2, ProtoBytes().text(2, "<eos>"))
                                  .message(3, ProtoBytes().message(1, ProtoBytes().text(1, "a").text(2, "b")))
                                  .message(6, ProtoBytes().message(4, ProtoBytes()))
                                  .text(7, "{{ x }}")
                                  .take();
  LitertlmBuilder litertlm;
  litertlm.sections.push_back({5, "", metadata});
  litertlm.sections.push_back({4, "", tokenizer});
  litertlm.sections.push_back({3, "tf_lite_prefill_decode", graph});
  seeds.add("bundle", litertlm.build());
  for (auto& section : litertlm.sections) section.data.resize(8);
  seeds.add("litertlm", litertlm.build());
  seeds.add("litertlm", metadata);
  seeds.add("litertlm", parameters);
}

void add_adapters(Seeds& seeds, const gemma::Model& model) {
  const TestLora lora(model, {4, false, false, 1});
  std::size_t numbers = 0;
  for (const LoraFactors& f : lora.factors) numbers += f.a.size() + f.b.size();
  seeds.add("adapter", head_of(lora.gguf(), numbers * sizeof(float)));
  seeds.add("adapter", head_of(lora.mediapipe().build(), numbers * sizeof(std::uint16_t)));
  const TempFolder folder;
  for (const char* type : {"F32", "BF16"}) {
    lora.write_peft(folder, type, [&](nlohmann::json& config) {
      if (type[0] == 'B') config.update({{"use_rslora", true}, {"alpha_pattern", {{"layers\\.0\\.self_attn.q_proj", 3}}}});
    });
    const std::string tensors = file_text(folder.path("adapter_model.safetensors"));
    const std::string head = tensors.substr(0, tensors.find("}}") + 2);
    seeds.add("adapter_peft", bytes_of_text(file_text(folder.path("adapter_config.json")) + '\0' + head));
  }
}

void add_sessions(Seeds& seeds) {
  const TempFolder folder;
  for (const auto type : {gemma::simd::KvType::bf16, gemma::simd::KvType::f32, gemma::simd::KvType::f16}) {
    gemma::SessionOptions options = options_of(24);
    options.kv_type = type;
    gemma::Session session(tiny(), options);
    session.generate("In the beginning", {}, greedy(4));
    session.save(folder.path("state"));
    seeds.add("session_state", head_of(bytes_of_file(folder.path("state")), sizeof(std::uint64_t)));
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  Seeds seeds(argv[1]);
  const ByteVector tokenizer = data("golden/gemma1_mqa/hf/tokenizer.model");
  for (const char* name : {"gemma1_mqa", "gemma2_swa", "gemma3_gqa4"}) {
    const gemma::Model source = gemma::load(data_path(std::string("golden/") + name + "/model-q8_0.gguf"));
    for (const bool inline_norms : {false, true}) {
      for (const auto qkv : {DecoderStyle::interleaved, DecoderStyle::plain, DecoderStyle::separate}) {
        const bool blocks = qkv != DecoderStyle::plain;
        add_bundles(seeds, source, tokenizer, {qkv, blocks ? 4 : 8, blocks ? 32 : 0, !inline_norms, true, true, true, 1});
      }
    }
    const MediapipeFile file(source, {name[5] == '2', 8, 4, 8, true, true, ".w"});
    std::size_t weights = 0;
    for (const auto& t : file.builder.tensors) weights += t.data.size();
    seeds.add("bin", head_of(file.builder.build(), weights));
    const ByteVector gguf = data(std::string("golden/") + name + "/model-q8_0.gguf");
    seeds.add("gguf", ByteVector(gguf.begin(), gguf.begin() + 40000));
  }
  add_adapters(seeds, gemma::load(data_path("golden/gemma1_mqa/model-q8_0.gguf")));
  add_sessions(seeds);
  ZipBuilder zip;
  for (const char* name : {"text_dynamic", "text_fixed", "text_stored", "text_literals", "zeros", "empty"}) {
    const ByteVector zlib = data(std::string("inflate/") + name + ".zlib");
    const std::size_t size = std::string(name) == "zeros" ? 65535 : std::string(name) == "empty" ? 0 : 644;
    const ByteVector deflate(zlib.begin() + 2, zlib.end() - 4);
    for (const ByteVector* stream : {&zlib, &deflate}) {
      ByteVector seed = {static_cast<std::uint8_t>(size), static_cast<std::uint8_t>(size >> 8)};
      append_bytes(seed, *stream);
      seeds.add("inflate", seed);
    }
    zip.entries.push_back({name, deflate, 8, 0, size});
  }
  for (const bool wide : {false, true}) {
    zip.wide = wide;
    seeds.add("zip", zip.build());
  }
  seeds.add("tokenizer", tokenizer);
  seeds.add("tokenizer", bytes_of_text(R"({"added_tokens":[{"id":0,"content":"<eos>","special":true}],"model":{"type":"BPE",)"
                                       R"("vocab":{"<eos>":0,"a":1,"b":2,"ab":3},"merges":["a b"]}})"));
  const std::string head = R"({"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"__metadata__":{"format":"pt"}})";
  ByteVector safetensors = bytes_of_numbers(std::vector<std::uint64_t>{head.size()});
  append_bytes(safetensors, bytes_of_text(head));
  safetensors.resize(safetensors.size() + 16);
  seeds.add("safetensors", safetensors);
}
