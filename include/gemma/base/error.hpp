// Errors as values: Error, Result<T> and Status. Everything that can fail returns one of the latter
// two; the outermost layer (gemma::load, gemma::Session) also has forms that throw the Error.
#ifndef GEMMA_BASE_ERROR_HPP_
#define GEMMA_BASE_ERROR_HPP_

#include <cstdlib>
#include <exception>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "gemma/config.hpp"

GEMMA_NAMESPACE_BEGIN

/// What kind of thing went wrong; the message of the Error says which, where, and what to do.
enum class ErrorCode {
  io,                ///< a file could not be opened, read or mapped
  format,            ///< the bytes of a file contradict its format
  unsupported,       ///< well-formed, but not something this version can run
  invalid_argument,  ///< a value passed by the caller makes no sense
  out_of_memory,     ///< an allocation, or a limit set by the caller, was exceeded
  context_full,      ///< the KV cache holds no further position
  cancelled,         ///< the caller asked to stop
  backend,           ///< the requested backend cannot be used
  build_failed,      ///< a device's compiler does not make the kernels
  self_test_failed   ///< a device computes wrong numbers
};

/// An error with a message for people: what was found, what was expected, and the remedy.
class Error : public std::exception {
 public:
  /// `message`: one line without a newline, which people will see as it is.
  Error(ErrorCode code, std::string message) : code_(code), message_(std::move(message)) {}

  ErrorCode code() const noexcept { return code_; }                        ///< for programs
  const std::string& message() const noexcept { return message_; }         ///< for people, UTF-8
  const char* what() const noexcept override { return message_.c_str(); }  ///< message()

 private:
  ErrorCode code_;
  std::string message_;
};

/// Either a T or an Error. Test it with ok() or as a bool before using *result.
template <class T>
class [[nodiscard]] Result {
 public:
  /// Success.
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit
  /// Failure.
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit

  bool ok() const noexcept { return state_.index() == 0; }  ///< whether there is a value
  explicit operator bool() const noexcept { return ok(); }  ///< ok()

  /// The value; only when ok(), which is not checked.
  T& operator*() & { return *std::get_if<0>(&state_); }
  const T& operator*() const& { return *std::get_if<0>(&state_); }    ///< likewise
  T&& operator*() && { return std::move(*std::get_if<0>(&state_)); }  ///< to move it out
  T* operator->() { return std::get_if<0>(&state_); }                 ///< only when ok()
  const T* operator->() const { return std::get_if<0>(&state_); }     ///< likewise

  /// The error; only when !ok().
  const Error& error() const { return *std::get_if<1>(&state_); }
  /// Moves it out; only when !ok(), and once.
  Error take_error() { return std::move(*std::get_if<1>(&state_)); }

#if !defined(GEMMA_NO_EXCEPTIONS)
  /// The value, or throws the Error.
  T value() && {
    if (!ok()) throw take_error();
    return std::move(*std::get_if<0>(&state_));
  }
#endif

 private:
  std::variant<T, Error> state_;
};

/// Success, or an Error.
class [[nodiscard]] Status {
 public:
  Status() = default;
  /// Failure; success is the default.
  Status(Error error) : error_(std::move(error)), ok_(false) {}  // NOLINT: implicit

  bool ok() const noexcept { return ok_; }                 ///< whether there is no error
  explicit operator bool() const noexcept { return ok_; }  ///< ok()
  const Error& error() const { return error_; }            ///< only when !ok()
  Error take_error() { return std::move(error_); }         ///< moves it out; only when !ok()

#if !defined(GEMMA_NO_EXCEPTIONS)
  /// Throws the Error if there is one.
  void value() && {
    if (!ok_) throw take_error();
  }
#endif

 private:
  Error error_{ErrorCode::invalid_argument, std::string()};
  bool ok_ = true;
};

GEMMA_NAMESPACE_END

/// Returns the error of `expr` (a Status or Result) to the caller, if it has one.
#define GEMMA_TRY(expr)                                        \
  do {                                                         \
    auto GEMMA_CAT(gemma_try_, __LINE__) = (expr);             \
    if (!GEMMA_CAT(gemma_try_, __LINE__)) {                    \
      return GEMMA_CAT(gemma_try_, __LINE__).take_error();     \
    }                                                          \
  } while (false)

/// `GEMMA_TRY_ASSIGN(auto x, f());`: x becomes the value of f(), or its error is returned.
#define GEMMA_TRY_ASSIGN(declaration, expr)                    \
  auto GEMMA_CAT(gemma_try_, __LINE__) = (expr);               \
  if (!GEMMA_CAT(gemma_try_, __LINE__)) {                      \
    return GEMMA_CAT(gemma_try_, __LINE__).take_error();       \
  }                                                            \
  declaration = *std::move(GEMMA_CAT(gemma_try_, __LINE__))

#endif  // GEMMA_BASE_ERROR_HPP_
