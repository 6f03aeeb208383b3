// The hook of the other tests: a function fails when it is told to, and only then.
#include "fault_functions.hpp"

#include <doctest/doctest.h>

namespace opencl = gemma::opencl;

TEST_CASE("a wrapped function fails at the call it is told to, as its kind does") {
  opencl::Functions real;
  real.clFlush = [](opencl::QueueId) -> opencl::Int { return 7; };
  real.clCreateBuffer = [](opencl::ContextId, opencl::Bits, std::size_t, void*, opencl::Int* code) {
    *code = opencl::kSuccess;
    return reinterpret_cast<opencl::MemoryId>(code);
  };
  opencl::Functions f = with_fault(real, "clFlush", 2, opencl::kOutOfResources);
  CHECK(f.clFlush(nullptr) == 7);
  CHECK(f.clFlush(nullptr) == opencl::kOutOfResources);
  CHECK(f.clFlush(nullptr) == 7);
  CHECK(fault_state().calls["clFlush"] == 3);
  CHECK((f.clFinish == nullptr));

  f = with_fault(real, "clCreateBuffer", 0, opencl::kOutOfDeviceMemory);
  opencl::Int code = opencl::kSuccess;
  CHECK(f.clCreateBuffer(nullptr, 0, 1, nullptr, &code) == nullptr);
  CHECK(code == opencl::kOutOfDeviceMemory);
  CHECK(f.clFlush(nullptr) == 7);

  f = with_fault(real, "", 1, 0);
  CHECK(f.clCreateBuffer(nullptr, 0, 1, nullptr, &code) != nullptr);
  CHECK(function_names().size() == 25);
}
