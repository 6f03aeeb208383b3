// The OpenCL device that tests run on.
#ifndef GEMMA_TESTS_OPENCL_TEST_DEVICE_HPP_
#define GEMMA_TESTS_OPENCL_TEST_DEVICE_HPP_

#include <doctest/doctest.h>

#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "gemma/opencl/device.hpp"

/// The first device of this machine; none, with a word about it, if there is none.
inline std::optional<gemma::opencl::Device> test_device() {
  const char* library = std::getenv("GEMMA_OPENCL_LIBRARY");
  const auto platforms = gemma::opencl::find_platforms(library != nullptr ? library : "");
  std::vector<std::string> remarks;
  if (platforms) {
    const auto devices = gemma::opencl::list_devices(*platforms, remarks);
    if (!devices.empty()) return devices[0];
  }
  MESSAGE("skipped: no OpenCL device here; tools/install_packages --tests installs PoCL");
  return std::nullopt;
}

#endif  // GEMMA_TESTS_OPENCL_TEST_DEVICE_HPP_
