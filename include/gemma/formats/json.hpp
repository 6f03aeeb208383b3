// JSON files, read with nlohmann/json so that everything in them is checked: errors name the file,
// the key, what was found and what was expected. Needs <nlohmann/json.hpp>.
#ifndef GEMMA_FORMATS_JSON_HPP_
#define GEMMA_FORMATS_JSON_HPP_

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "gemma/base/error.hpp"
#include "gemma/base/span.hpp"

GEMMA_NAMESPACE_BEGIN
namespace json {

/// A value of any kind.
using Value = nlohmann::json;

/// The document in `bytes`; `name` is for messages. An error says where the text stops being JSON.
Result<Value> parse(Bytes bytes, const std::string& name);

/// Reads `bytes` without building a document: `handler`, a nlohmann SAX handler, is called for
/// every value, and may end the reading early by returning false.
Status parse_events(Bytes bytes, const std::string& name, nlohmann::json_sax<Value>& handler);

/// An object of a document. Keys that are missing and keys that are null count as absent, as Python
/// programs treat them.
class Object {
 public:
  /// Refers to `value`, which must live on. An error if it is not an object; `name` is the file.
  static Result<Object> of(const Value& value, const std::string& name);

  /// Whether the key is there, be it null.
  bool mentions(const char* key) const { return value_ != nullptr && value_->contains(key); }
  bool has(const char* key) const { return find(key) != nullptr; }  ///< neither missing nor null
  /// Null if absent.
  const Value* find(const char* key) const;

  /// An integer from 0 to 2³¹ − 1.
  Result<std::size_t> size(const char* key) const;
  /// The same; `fallback` if absent.
  Result<std::size_t> size_or(const char* key, std::size_t fallback) const;
  /// A number within the range of float, integers too; `fallback` if absent.
  Result<float> number_or(const char* key, float fallback) const;
  /// true or false; `fallback` if absent.
  Result<bool> flag_or(const char* key, bool fallback) const;
  /// A string; `fallback` if absent.
  Result<std::string> text_or(const char* key, const std::string& fallback) const;
  /// The object under a key; an empty one if absent.
  Result<Object> object(const char* key) const;
  /// A list of `count` numbers, or one number that stands for all of them.
  Result<std::vector<float>> numbers(const char* key, std::size_t count) const;
  /// A list of `count` integers as of size(), or one that stands for all of them.
  Result<std::vector<std::size_t>> sizes(const char* key, std::size_t count) const;

  /// "FILE: key 'text_config.KEY' WHAT".
  Error error(const char* key, const std::string& what) const;

 private:
  Object(const Value* value, std::string name, std::string path = std::string())
      : value_(value), name_(std::move(name)), path_(std::move(path)) {}
  Error mismatch(const char* key, const Value& found, const char* expected) const;
  Result<std::size_t> size_of(const char* key, const Value& value) const;

  const Value* value_;  ///< null: empty
  std::string name_;
  std::string path_;
};

}  // namespace json
GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/formats/impl/json-inl.hpp"
#endif

#endif  // GEMMA_FORMATS_JSON_HPP_
