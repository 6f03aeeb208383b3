// Errors as values: Error, Result<T> and Status. Everything that can fail returns one of the latter
// two; the outermost layer (gemma::load, gemma::Session) also has forms that throw the Error.
#ifndef GEMMA_BASE_ERROR_HPP_
#define GEMMA_BASE_ERROR_HPP_

#include <cstdlib>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <type_traits>
#include <utility>

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

namespace detail {

/// An Error on the heap, or none. It is made and freed out of line, so that the many ways on which
/// nothing fails stay short.
class ErrorBox {
 public:
  ErrorBox() = default;
  GEMMA_COLD explicit ErrorBox(Error error) : error_(new Error(std::move(error))) {}
  ErrorBox(ErrorBox&& other) noexcept : error_(std::exchange(other.error_, nullptr)) {}
  ErrorBox& operator=(ErrorBox&& other) noexcept {
    std::swap(error_, other.error_);
    return *this;
  }
  ~ErrorBox() {
    if (error_ != nullptr) destroy(error_);
  }

  bool empty() const noexcept { return error_ == nullptr; }
  Error& operator*() const noexcept { return *error_; }

 private:
  GEMMA_COLD static void destroy(Error* error) { delete error; }

  Error* error_ = nullptr;
};

}  // namespace detail

/// Either a T or an Error. Test it with ok() or as a bool before using *result. It is moved, not copied.
template <class T>
class [[nodiscard]] Result {
 public:
  /// Success.
  Result(T value) : value_(std::move(value)), ok_(true) {}      // NOLINT: implicit
  /// Failure.
  Result(Error error) : error_(std::move(error)) {}             // NOLINT: implicit
  /// Another's failure: see take_box().
  Result(detail::ErrorBox error) : error_(std::move(error)) {}  // NOLINT: implicit

  /// The other is good for nothing but to be assigned to or destroyed.
  Result(Result&& other) noexcept(noexcept(T(std::move(other.value_))))
      : error_(std::move(other.error_)), ok_(other.ok_) {
    if (ok_) new (static_cast<void*>(std::addressof(value_))) T(std::move(other.value_));
  }
  /// Likewise.
  Result& operator=(Result&& other) {
    if (this == &other) return *this;
    destroy();
    error_ = std::move(other.error_);
    if (other.ok_) new (static_cast<void*>(std::addressof(value_))) T(std::move(other.value_));
    ok_ = other.ok_;
    return *this;
  }
  ~Result() { destroy(); }

  bool ok() const noexcept { return ok_; }                  ///< whether there is a value
  explicit operator bool() const noexcept { return ok(); }  ///< ok()

  /// The value; only when ok(), which is not checked.
  T& operator*() & { return value_; }
  const T& operator*() const& { return value_; }                  ///< likewise
  T&& operator*() && { return std::move(value_); }                ///< to move it out
  T* operator->() { return std::addressof(value_); }              ///< only when ok()
  const T* operator->() const { return std::addressof(value_); }  ///< likewise

  /// The error; only when !ok().
  const Error& error() const { return *error_; }
  /// Moves it out; only when !ok(), and once.
  Error take_error() { return std::move(*error_); }
  /// The same for another Result or a Status, without a copy.
  detail::ErrorBox take_box() { return std::move(error_); }

#if !defined(GEMMA_NO_EXCEPTIONS)
  /// The value, or throws the Error.
  T value() && {
    if (!ok()) throw take_error();
    return std::move(value_);
  }
#endif

 private:
  void destroy() noexcept {
    if (ok_) value_.~T();
    ok_ = false;
  }

  // In place of a std::optional, which took the compiler a tenth of all memory.
  union {
    T value_;  ///< only when ok()
  };
  detail::ErrorBox error_;
  bool ok_ = false;
};

/// Success, or an Error.
class [[nodiscard]] Status {
 public:
  Status() = default;
  /// Failure; success is the default.
  Status(Error error) : error_(std::move(error)) {}             // NOLINT: implicit
  /// Another's failure: see take_box().
  Status(detail::ErrorBox error) : error_(std::move(error)) {}  // NOLINT: implicit

  bool ok() const noexcept { return error_.empty(); }       ///< whether there is no error
  explicit operator bool() const noexcept { return ok(); }  ///< ok()
  const Error& error() const { return *error_; }            ///< only when !ok()
  Error take_error() { return std::move(*error_); }         ///< moves it out; only when !ok()
  /// The same for a Result or another Status, without a copy.
  detail::ErrorBox take_box() { return std::move(error_); }

#if !defined(GEMMA_NO_EXCEPTIONS)
  /// Throws the Error if there is one.
  void value() && {
    if (!ok()) throw take_error();
  }
#endif

 private:
  detail::ErrorBox error_;
};

GEMMA_NAMESPACE_END

/// Returns the error of `expr` (a Status or Result) to the caller, if it has one.
#define GEMMA_TRY(expr)                                        \
  do {                                                         \
    auto GEMMA_CAT(gemma_try_, __LINE__) = (expr);             \
    if (!GEMMA_CAT(gemma_try_, __LINE__)) {                    \
      return GEMMA_CAT(gemma_try_, __LINE__).take_box();       \
    }                                                          \
  } while (false)

/// `GEMMA_TRY_ASSIGN(auto x, f());`: x becomes the value of f(), or its error is returned.
#define GEMMA_TRY_ASSIGN(declaration, expr)                    \
  auto GEMMA_CAT(gemma_try_, __LINE__) = (expr);               \
  if (!GEMMA_CAT(gemma_try_, __LINE__)) {                      \
    return GEMMA_CAT(gemma_try_, __LINE__).take_box();         \
  }                                                            \
  declaration = *std::move(GEMMA_CAT(gemma_try_, __LINE__))

#endif  // GEMMA_BASE_ERROR_HPP_
