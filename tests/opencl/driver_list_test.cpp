// Which drivers are tried. Loaders read their list once, so that each program sees only one.
#include <doctest/doctest.h>

#include <string>

#include "environment_variable.hpp"
#include "gemma/opencl/api.hpp"
#include "temp_folder.hpp"

#if defined(__linux__)

TEST_CASE("a loader without drivers is no platform, and the drivers that icd files name are tried") {
  const TempFolder folder;
  folder.write("b.icd", "/opt/none/b.so\n");
  folder.write("a.icd", "/opt/none/a.so\r\n");
  folder.write("notes.txt", "/opt/none/notes.so");
  const EnvironmentVariable vendors("OCL_ICD_VENDORS", folder.path());
  const auto found = gemma::opencl::find_platforms("");
  REQUIRE_FALSE(found.ok());
  const std::string& message = found.error().message();
  CHECK(message.find("/opt/none/a.so, /opt/none/b.so") != std::string::npos);
  CHECK(message.find("notes") == std::string::npos);
  CHECK(message.find("libnvidia") == std::string::npos);
  const bool loader = message.find("lists none") != std::string::npos;
  CHECK((found.error().code() == gemma::ErrorCode::backend) == loader);
}

#endif
