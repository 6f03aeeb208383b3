#include "gemma/backend/opencl_choice.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "environment_variable.hpp"
#include "temp_folder.hpp"
#include "test_data.hpp"

#if !defined(_WIN32)
#include <sys/wait.h>
#include <unistd.h>
#endif

namespace {

using gemma::choose_opencl_device;
using gemma::Error;
using gemma::ErrorCode;
using gemma::OpenClChoice;
using gemma::OpenClOptions;
using gemma::Sentinel;
using gemma::Verdict;
using gemma::verdict_name;
using gemma::with_environment;
using gemma::opencl::Device;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

/// A device that passes every check.
Device gpu(const std::string& name, std::size_t compute_units = 10) {
  Device device;
  device.platform_name = "Some Platform";
  device.name = name;
  device.vendor = "Vendor Inc.";
  device.driver = "1.2.3";
  device.type = gemma::opencl::kTypeGpu;
  device.global_memory = 1000 * kMiB;
  device.compute_units = compute_units;
  device.clock_mhz = 1000;
  device.available = device.compiler = device.little_endian = true;
  return device;
}

Device cpu(const std::string& name) {
  Device device = gpu(name, 1000);
  device.type = gemma::opencl::kTypeCpu;
  return device;
}

OpenClChoice choose(std::vector<Device> devices, const OpenClOptions& options = {},
                    std::uint64_t needed = 100 * kMiB) {
  return choose_opencl_device(options, {needed, {}}, std::move(devices));
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// Checks that a device alone is refused so, and that the choice says why.
void check_refused(const Device& device, Verdict verdict, const std::string& part,
                   const OpenClOptions& options = {}, std::uint64_t needed = 100 * kMiB) {
  const OpenClChoice choice = choose({device}, options, needed);
  REQUIRE(choice.devices.size() == 1);
  CHECK(choice.chosen == -1);
  CHECK(choice.devices[0].verdict == verdict);
  INFO(choice.devices[0].reason);
  CHECK(contains(choice.devices[0].reason, part));
  CHECK(choice.reason == device.name + ": " + choice.devices[0].reason);
}

}  // namespace

TEST_CASE("the fastest GPU is chosen, and the others stay usable") {
  const OpenClChoice choice = choose({gpu("slow", 2), gpu("fast", 20), gpu("middle", 10)});
  CHECK(choice.chosen == 1);
  CHECK(choice.devices[0].verdict == Verdict::usable);
  CHECK(choice.devices[1].verdict == Verdict::chosen);
  CHECK(choice.devices[2].verdict == Verdict::usable);
  CHECK(choice.reason == "fast is likely to be the fastest of 3 devices");
  CHECK(choose({gpu("lonely")}).reason == "lonely is the only usable device");
}

TEST_CASE("a GPU with memory of its own comes before one without") {
  Device inside = gpu("inside", 100);
  inside.unified_memory = true;
  CHECK(choose({inside, gpu("card", 10)}).chosen == 1);
  CHECK(choose({gpu("card", 10), inside}).chosen == 0);
  CHECK(choose({inside}).chosen == 0);
}

TEST_CASE("of equal devices the first is chosen") {
  CHECK(choose({gpu("a"), gpu("b")}).chosen == 0);
}

TEST_CASE("no device is a reason like others") {
  const OpenClChoice choice = choose({});
  CHECK(choice.chosen == -1);
  CHECK(choice.reason == "there is no OpenCL device");
}

TEST_CASE("a library that cannot be loaded is a reason, too") {
  OpenClOptions options;
  options.library = "/nonexistent/libOpenCL.so";
  const OpenClChoice choice = choose_opencl_device(options, {kMiB, {}});
  CHECK(choice.chosen == -1);
  CHECK(choice.devices.empty());
  CHECK(contains(choice.reason, options.library));
}

TEST_CASE("devices are allowed and denied by parts of what they are called, in any case") {
  OpenClOptions options;
  options.deny = {"nothing", "VENDOR"};
  check_refused(gpu("card"), Verdict::denied, "\"VENDOR\"", options);
  options.allow = {"card"};
  check_refused(gpu("card"), Verdict::denied, "denied", options);
  options.deny.clear();
  CHECK(choose({gpu("My CARD")}, options).chosen == 0);
  check_refused(gpu("other"), Verdict::not_allowed,
                "Some Platform | Vendor Inc. | other | 1.2.3", options);
  options.allow = {"form | vend"};
  CHECK(choose({gpu("any")}, options).chosen == 0);
}

TEST_CASE("what a device cannot do is a reason") {
  Device device = gpu("card");
  device.available = false;
  check_refused(device, Verdict::unavailable, "not available");
  device = gpu("card");
  device.compiler = false;
  check_refused(device, Verdict::no_compiler, "no compiler");
  device = gpu("card");
  device.version = "OpenCL 1.1 of some driver";
  check_refused(device, Verdict::too_old, "OpenCL 1.1,");
  device.version = "OpenCL 1.2";
  CHECK(choose({device}).chosen == 0);
  device = gpu("card");
  device.little_endian = false;
  check_refused(device, Verdict::big_endian, "big-endian");
  check_refused(cpu("processor"), Verdict::not_a_gpu, "not a GPU");
}

TEST_CASE("the first failing check is the one that is told") {
  Device device = cpu("processor");
  device.available = device.compiler = false;
  device.global_memory = 1;
  check_refused(device, Verdict::unavailable, "not available");
  OpenClOptions options;
  options.deny = {"processor"};
  check_refused(device, Verdict::denied, "denied", options);
}

TEST_CASE("devices that are no GPUs count if allowed, after all GPUs") {
  OpenClOptions options;
  options.allow_cpu = true;
  CHECK(choose({cpu("processor")}, options).chosen == 0);
  CHECK(choose({cpu("processor"), gpu("card", 1)}, options).chosen == 1);
  CHECK(choose({gpu("card", 1), cpu("processor")}, options).chosen == 0);
}

TEST_CASE("a model may take 90 % of a device's memory") {
  CHECK(choose({gpu("card")}, {}, 900 * kMiB).chosen == 0);
  check_refused(gpu("card"), Verdict::too_little_memory, "needs 901 MiB", {}, 900 * kMiB + 1);
  check_refused(gpu("card"), Verdict::too_little_memory, "only 900 MiB", {}, 2000 * kMiB);
  Device silent = gpu("card");
  silent.global_memory = 0;
  check_refused(silent, Verdict::too_little_memory, "does not say");
}

TEST_CASE("a device that cannot hold a model gets as many of its layers as fit") {
  const gemma::DeviceNeeds needs = {1000 * kMiB, {500 * kMiB, 800 * kMiB, 950 * kMiB}};
  const auto choose_for = [&](std::vector<Device> devices, const OpenClOptions& options = {}) {
    return choose_opencl_device(options, needs, std::move(devices));
  };
  const OpenClChoice two = choose_for({gpu("card")});
  REQUIRE(two.chosen == 0);
  CHECK(two.devices[0].layers == 2);
  CHECK(two.reason == "card is the only usable device, and its memory holds 2 of 4 layers");

  Device large = gpu("large", 1);
  large.global_memory = 2000 * kMiB;
  const OpenClChoice larger = choose_for({gpu("card"), large});
  CHECK(larger.chosen == 1);
  CHECK_FALSE(larger.devices[1].layers.has_value());

  OpenClOptions options;
  options.gpu_layers = 1;
  CHECK(choose_for({large}, options).devices[0].layers == 1);
  CHECK(choose_for({large}, options).reason ==
        "large is the only usable device, and it gets 1 of 4 layers");
  options.gpu_layers = 9;
  CHECK_FALSE(choose_for({large}, options).devices[0].layers.has_value());
  options.gpu_layers = 3;
  const OpenClChoice refused = choose_for({gpu("card")}, options);
  CHECK(refused.chosen == -1);
  CHECK(refused.devices[0].verdict == Verdict::too_little_memory);
  CHECK(refused.reason == "card: 3 of 4 layers need 950 MiB there, but only 900 MiB, 90 % of its "
                          "memory, may be used; it holds 2 of 4 layers");
  Device small = gpu("small");
  small.global_memory = 500 * kMiB;
  CHECK(choose_for({small}).chosen == -1);
}

TEST_CASE("a device that failed makes room for the next best") {
  OpenClChoice choice = choose({gpu("second", 5), gpu("best", 9)});
  REQUIRE(choice.chosen == 1);
  const auto error = [](const char* text) { return Error(ErrorCode::backend, text); };
  choose_next_opencl_device(choice, error("best: the driver fell over"));
  CHECK(choice.chosen == 0);
  CHECK(choice.devices[1].verdict == Verdict::failed);
  CHECK(choice.devices[1].reason == "the driver fell over");
  choose_next_opencl_device(choice, error("no luck"));
  CHECK(choice.chosen == -1);
  CHECK(choice.reason == "second: no luck; best: the driver fell over");
  choose_next_opencl_device(choice, error("nothing is left to fail"));
  CHECK(choice.chosen == -1);
}

TEST_CASE("a program can tell apart why a device failed") {
  const std::pair<ErrorCode, Verdict> causes[] = {
      {ErrorCode::unsupported, Verdict::unsupported_model},
      {ErrorCode::out_of_memory, Verdict::out_of_memory},
      {ErrorCode::build_failed, Verdict::build_failed},
      {ErrorCode::self_test_failed, Verdict::self_test_failed},
      {ErrorCode::backend, Verdict::failed}};
  std::set<std::string> names;
  for (const auto& [code, verdict] : causes) {
    OpenClChoice choice = choose({gpu("card")});
    choose_next_opencl_device(choice, Error(code, "card: why"));
    CHECK(choice.devices[0].verdict == verdict);
    CHECK(choice.reason == "card: why");
    names.insert(verdict_name(verdict));
  }
  names.insert(verdict_name(Verdict::too_slow));
  CHECK(names == std::set<std::string>{"build_failed", "failed", "out_of_memory",
                                       "self_test_failed", "too_slow", "unsupported_model"});
}

TEST_CASE("the environment adds to the options") {
  const TempFolder folder;
  const EnvironmentVariable library("GEMMA_OPENCL_LIBRARY", "some.so");
  const EnvironmentVariable devices("GEMMA_OPENCL_DEVICES",
                                    " nvidia , -intel,!pthread,, - amd gpu ,");
  const EnvironmentVariable allow_cpu("GEMMA_OPENCL_ALLOW_CPU", "1");
  const EnvironmentVariable cache("GEMMA_OPENCL_CACHE", folder.path("a/b"));
  OpenClOptions options = with_environment({});
  CHECK(options.library == "some.so");
  CHECK(options.allow == std::vector<std::string>{"nvidia"});
  CHECK(options.deny == std::vector<std::string>{"intel", "pthread", "amd gpu"});
  CHECK(options.allow_cpu);
  CHECK(options.cache_folder == folder.path("a/b"));
  CHECK(folder.holds("a/b"));

  options = {};
  options.library = "mine.so";
  options.allow = {"mine"};
  options.deny = {"yours"};
  options.cache_folder = folder.path("mine");
  const EnvironmentVariable no_cpu("GEMMA_OPENCL_ALLOW_CPU", "0");
  options = with_environment(options);
  CHECK(options.library == "mine.so");
  CHECK(options.allow == std::vector<std::string>{"mine"});
  CHECK(options.deny.size() == 4);
  CHECK_FALSE(options.allow_cpu);
  CHECK(options.cache_folder == folder.path("mine"));
}

#if !defined(_WIN32)
TEST_CASE("the user's folder for caches is the one to use, if it can be made") {
  const TempFolder folder;
  const EnvironmentVariable unset("GEMMA_OPENCL_CACHE", "");
  const EnvironmentVariable caches("XDG_CACHE_HOME", folder.path("caches"));
  CHECK(with_environment({}).cache_folder == folder.path("caches/gemma.hpp"));
  CHECK(folder.holds("caches/gemma.hpp"));
  folder.write("file", "not a folder");
  const EnvironmentVariable file("XDG_CACHE_HOME", folder.path("file"));
  CHECK(with_environment({}).cache_folder.empty());
}

TEST_CASE("a start that ended its process is remembered, one under way is not held against it") {
  const TempFolder folder;
  const Device device = gpu("card");
  OpenClOptions options;
  options.cache_folder = folder.path();
  Sentinel sentinel(folder.path(), device);
  CHECK_FALSE(sentinel.left_behind());
  sentinel.arm();
  CHECK(file_text(sentinel.path()).find("card") != std::string::npos);
  CHECK_FALSE(sentinel.left_behind());
  CHECK(choose({device}, options).chosen == 0);
  {
    Sentinel second(folder.path(), device);  // of another program
    second.arm();
  }
  CHECK(file_exists(sentinel.path()));
  sentinel.disarm();
  CHECK_FALSE(file_exists(sentinel.path()));

  const pid_t child = ::fork();
  if (child == 0) {
    sentinel.arm();
    ::_exit(0);
  }
  REQUIRE(child > 0);
  ::waitpid(child, nullptr, 0);
  CHECK(sentinel.left_behind());
  check_refused(device, Verdict::crashed_before, sentinel.path(), options);
  Device updated = device;
  updated.driver = "1.2.4";
  CHECK(choose({updated}, options).chosen == 0);
  folder.remove(sentinel.path());
  CHECK(choose({device}, options).chosen == 0);
}
#endif

TEST_CASE("the note of a start is gone when its Sentinel is") {
  const TempFolder folder;
  std::string path;
  {
    Sentinel sentinel(folder.path(), gpu("card"));
    sentinel.arm();
    path = sentinel.path();
    CHECK(std::filesystem::exists(path));  // others may not open it on Windows
  }
  CHECK_FALSE(std::filesystem::exists(path));
}

TEST_CASE("verdicts have names") {
  CHECK(std::string(verdict_name(Verdict::chosen)) == "chosen");
  CHECK(std::string(verdict_name(Verdict::failed)) == "failed");
}

TEST_CASE("without a folder nothing is noted") {
  Sentinel sentinel("", gpu("card"));
  sentinel.arm();
  CHECK(sentinel.path().empty());
  CHECK_FALSE(sentinel.left_behind());
  Sentinel nowhere("/nonexistent/folder", gpu("card"));
  nowhere.arm();
  CHECK_FALSE(nowhere.left_behind());
}
