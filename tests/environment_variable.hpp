// A variable of the environment that is set while a test runs.
#ifndef GEMMA_TESTS_ENVIRONMENT_VARIABLE_HPP_
#define GEMMA_TESTS_ENVIRONMENT_VARIABLE_HPP_

#include <cstdlib>
#include <optional>
#include <string>

class EnvironmentVariable {
 public:
  EnvironmentVariable(const char* name, const std::string& value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    set(value);
  }
  ~EnvironmentVariable() { set(before_); }
  EnvironmentVariable(const EnvironmentVariable&) = delete;
  EnvironmentVariable& operator=(const EnvironmentVariable&) = delete;

 private:
  void set(const std::optional<std::string>& value) {
#if defined(_WIN32)
    _putenv_s(name_, value.value_or("").c_str());
#else
    value ? ::setenv(name_, value->c_str(), 1) : ::unsetenv(name_);
#endif
  }

  const char* name_;
  std::optional<std::string> before_;
};

#endif  // GEMMA_TESTS_ENVIRONMENT_VARIABLE_HPP_
