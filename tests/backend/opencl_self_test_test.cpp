#include <doctest/doctest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gemma/backend/opencl.hpp"
#include "golden.hpp"
#include "opencl/test_device.hpp"

namespace {

namespace opencl = gemma::opencl;
using opencl::Int;
using opencl::KernelId;
using opencl::MemoryId;
using opencl::UInt;

/// A kernel, and the number of an argument that it writes to.
using Output = std::pair<std::string, UInt>;

/// What becomes of the launches. One for the program, since pointers to functions carry no state.
struct Launches {
  opencl::Functions real;
  std::set<std::string> created;
  std::set<std::string> launched;
  std::set<Output> outputs;     ///< found if `finds_outputs`
  bool finds_outputs = false;
  Output wrong;                 ///< every number that it writes is off by 0.25

  std::map<KernelId, std::string> names;
  std::map<KernelId, std::map<UInt, MemoryId>> arguments;
  std::map<MemoryId, std::size_t> sizes;
};

Launches& launches() {
  static Launches state;
  return state;
}

using Words = std::vector<std::uint32_t>;

Words contents(opencl::QueueId queue, MemoryId memory) {
  Words words(launches().sizes[memory] / sizeof(std::uint32_t));
  REQUIRE(launches().real.clEnqueueReadBuffer(queue, memory, 1, 0, words.size() * 4, words.data(),
                                              0, nullptr, nullptr) == opencl::kSuccess);
  return words;
}

std::uint32_t off(std::uint32_t word) {
  float value;
  std::memcpy(&value, &word, sizeof value);
  value += 0.25f;
  std::memcpy(&word, &value, sizeof value);
  return word;
}

Int launch(opencl::QueueId queue, KernelId kernel, UInt dimensions, const std::size_t* offset,
           const std::size_t* global, const std::size_t* local) {
  Launches& state = launches();
  const std::string& name = state.names[kernel];
  state.launched.insert(name);
  const bool watched = state.finds_outputs || state.wrong.first == name;
  std::map<UInt, Words> before;
  if (watched) {
    for (const auto& [index, memory] : state.arguments[kernel]) {
      before[index] = contents(queue, memory);
    }
  }
  const Int code = state.real.clEnqueueNDRangeKernel(queue, kernel, dimensions, offset, global,
                                                     local, 0, nullptr, nullptr);
  for (const auto& [index, old] : before) {
    const MemoryId memory = state.arguments[kernel][index];
    Words words = contents(queue, memory);
    if (words == old) continue;
    state.outputs.insert({name, index});
    if (state.wrong != Output{name, index}) continue;
    for (std::size_t i = 0; i < words.size(); ++i) {
      if (words[i] != old[i]) words[i] = off(words[i]);
    }
    REQUIRE(state.real.clEnqueueWriteBuffer(queue, memory, 1, 0, words.size() * 4, words.data(), 0,
                                            nullptr, nullptr) == opencl::kSuccess);
  }
  return code;
}

/// The device with its launches watched.
opencl::Device watched(opencl::Device device) {
  Launches& state = launches();
  state = {};
  state.real = device.functions();
  auto functions = std::make_shared<opencl::Functions>(state.real);
  functions->clCreateBuffer = [](opencl::ContextId context, opencl::Bits flags, std::size_t size,
                                 void* data, Int* code) {
    const MemoryId made = launches().real.clCreateBuffer(context, flags, size, data, code);
    launches().sizes[made] = size;
    return made;
  };
  functions->clCreateKernel = [](opencl::ProgramId program, const char* name, Int* code) {
    const KernelId made = launches().real.clCreateKernel(program, name, code);
    launches().created.insert(name);
    launches().names[made] = name;
    return made;
  };
  functions->clSetKernelArg = [](KernelId kernel, UInt index, std::size_t size,
                                 const void* value) {
    auto& arguments = launches().arguments[kernel];
    arguments.erase(index);
    MemoryId memory = nullptr;
    if (value != nullptr && size == sizeof memory) {
      std::memcpy(&memory, value, sizeof memory);
      if (memory != nullptr) arguments[index] = memory;
    }
    return launches().real.clSetKernelArg(kernel, index, size, value);
  };
  functions->clEnqueueNDRangeKernel = [](opencl::QueueId queue, KernelId kernel, UInt dimensions,
                                         const std::size_t* offset, const std::size_t* global,
                                         const std::size_t* local, UInt, const opencl::EventId*,
                                         opencl::EventId*) {
    return launch(queue, kernel, dimensions, offset, global, local);
  };
  device.platform.functions = functions;
  return device;
}

gemma::Result<std::unique_ptr<gemma::Runner>> try_runner(const Golden& golden,
                                                         const opencl::Device& device) {
  gemma::OpenClRunnerOptions options;
  options.context = 64;
  options.batch = 16;
  options.half_kv = false;
  const char* folder = std::getenv("GEMMA_OPENCL_CACHE");
  options.cache_folder = folder != nullptr ? folder : "";
  return gemma::create_opencl_runner(golden.model.config(), golden.model.weights(), device,
                                     options);
}

std::string joined(const std::set<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += name + ' ';
  return text;
}

std::set<std::string> without(std::set<std::string> names, const std::set<std::string>& others) {
  for (const std::string& name : others) names.erase(name);
  return names;
}

}  // namespace

TEST_CASE("the self-test runs every kernel there is, and of each model every one it uses") {
  const auto device = test_device();
  if (!device) return;
  std::set<std::string> never_tested;
  std::set<std::string> tested;
  std::vector<std::pair<std::string, std::string>> models;
  for (const std::string& name : kGoldenF32) models.emplace_back(name, "f32");
  for (const std::string& name : kGoldenQ8) models.emplace_back(name, "q8_0");
  for (const auto& model : models) {
    const std::string &name = model.first, &type = model.second;
    CAPTURE(name);
    CAPTURE(type);
    const Golden golden = Golden::load(name, type);
    auto runner = try_runner(golden, watched(*device));
    if (!runner) FAIL(runner.error().message());
    const std::set<std::string> in_test = std::exchange(launches().launched, {});
    tested.insert(in_test.begin(), in_test.end());
    never_tested.insert(launches().created.begin(), launches().created.end());
    gemma::Outputs outputs;
    outputs.logit_rows = 1;
    outputs.logits = [](std::size_t, gemma::Span<float>) {};
    const std::vector<gemma::TokenId>& ids = golden.input_ids;
    for (const std::size_t count : {std::size_t{16}, std::size_t{1}}) {
      const gemma::Span<const gemma::TokenId> some(ids.data(), count);
      REQUIRE((*runner)->forward(some, outputs).ok());
    }
    CHECK(joined(without(launches().launched, in_test)) == "");
  }
  CHECK(tested.size() > 25);
  CHECK(joined(without(never_tested, tested)) == "");
}

TEST_CASE("a kernel that writes wrong numbers anywhere fails the self-test") {
  const auto device = test_device();
  if (!device) return;
  const Golden golden = Golden::load("gemma3_base", "q8_0");
  const opencl::Device normal = watched(*device);
  launches().finds_outputs = true;
  REQUIRE(try_runner(golden, normal).ok());
  const std::set<Output> outputs = launches().outputs;
  std::set<std::string> writers;
  for (const Output& output : outputs) writers.insert(output.first);
  CHECK(joined(without(launches().launched, writers)) == "");
  for (const Output& output : outputs) {
    CAPTURE(output.first);
    CAPTURE(output.second);
    const opencl::Device wrong = watched(*device);
    launches().wrong = output;
    const auto made = try_runner(golden, wrong);
    CHECK_FALSE(made.ok());
    if (made.ok()) continue;
    CHECK(made.error().code() == gemma::ErrorCode::self_test_failed);
    CHECK(made.error().message().find(device->name + ": self-test failed: ") == 0);
  }
}
