// OpenCL functions of which one fails when a test wants it to.
#ifndef GEMMA_TESTS_OPENCL_FAULT_FUNCTIONS_HPP_
#define GEMMA_TESTS_OPENCL_FAULT_FUNCTIONS_HPP_

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "gemma/opencl/api.hpp"

/// What with_fault() is to do, and what was called. One for the program, since pointers to functions
/// carry no state; not for several threads at once.
struct FaultState {
  gemma::opencl::Functions real;
  std::string name;                  ///< the function that fails; empty: none
  int nth = 1;                       ///< at which of its calls, from 1 on; 0: at all of them
  gemma::opencl::Int error = 0;
  std::map<std::string, int> calls;  ///< so far, of each function

  /// Counts a call of `called`: whether this one is to fail.
  bool fails(const char* called) {
    const int count = ++calls[called];
    return name == called && (nth == 0 || count == nth);
  }
};

inline FaultState& fault_state() {
  static FaultState state;
  return state;
}

namespace fault {

/// The error as a function gives it back: as its value, or null and in its last argument.
template <class Result, class... Arguments>
Result fail(Arguments... arguments) {
  const gemma::opencl::Int error = fault_state().error;
  if constexpr (std::is_same<Result, gemma::opencl::Int>::value) {
    return error;
  } else {
    const auto store = [error](auto last) {
      if constexpr (std::is_same<decltype(last), gemma::opencl::Int*>::value) {
        if (last != nullptr) *last = error;
      }
    };
    (store(arguments), ...);
    return nullptr;
  }
}

/// Wraps one function of the table. Name is a type with its name and place.
template <class Name, class Signature>
struct Wrap;

template <class Name, class Result, class... Arguments>
struct Wrap<Name, Result(GEMMA_OPENCL_CALL*)(Arguments...)> {
  static Result GEMMA_OPENCL_CALL call(Arguments... arguments) {
    if (fault_state().fails(Name::name())) return fail<Result>(arguments...);
    return (fault_state().real.*Name::place())(arguments...);
  }
};

#define GEMMA_TEST_NAME(function, result, arguments)                                \
  struct function {                                                                 \
    static const char* name() { return #function; }                                 \
    static constexpr auto place() { return &gemma::opencl::Functions::function; }   \
  };
GEMMA_OPENCL_REQUIRED(GEMMA_TEST_NAME)
GEMMA_OPENCL_OPTIONAL(GEMMA_TEST_NAME)
#undef GEMMA_TEST_NAME

}  // namespace fault

/// The functions of `real`, of which the nth call (from 1 on; 0: every call) of the one called `name`
/// fails with `error` without being made. An empty `name` only counts calls.
inline gemma::opencl::Functions with_fault(const gemma::opencl::Functions& real,
                                           const std::string& name, int nth,
                                           gemma::opencl::Int error) {
  fault_state() = {real, name, nth, error, {}};
  gemma::opencl::Functions wrapped;
#define GEMMA_TEST_WRAP(function, result, arguments)                                      \
  if (real.function != nullptr) {                                                         \
    wrapped.function =                                                                    \
        &fault::Wrap<fault::function, decltype(gemma::opencl::Functions::function)>::call; \
  }
  GEMMA_OPENCL_REQUIRED(GEMMA_TEST_WRAP)
  GEMMA_OPENCL_OPTIONAL(GEMMA_TEST_WRAP)
#undef GEMMA_TEST_WRAP
  return wrapped;
}

/// The names of all functions that with_fault() wraps.
inline std::vector<std::string> function_names() {
  std::vector<std::string> names;
#define GEMMA_TEST_NAME(function, result, arguments) names.push_back(#function);
  GEMMA_OPENCL_REQUIRED(GEMMA_TEST_NAME)
  GEMMA_OPENCL_OPTIONAL(GEMMA_TEST_NAME)
#undef GEMMA_TEST_NAME
  return names;
}

/// The platform with a fault in its functions.
inline gemma::opencl::Platform with_fault(const gemma::opencl::Platform& platform,
                                          const std::string& name, int nth,
                                          gemma::opencl::Int error) {
  return {std::make_shared<gemma::opencl::Functions>(
              with_fault(*platform.functions, name, nth, error)),
          platform.id, platform.library};
}

#endif  // GEMMA_TESTS_OPENCL_FAULT_FUNCTIONS_HPP_
