// Bodies of json.hpp.
#ifndef GEMMA_FORMATS_IMPL_JSON_INL_HPP_
#define GEMMA_FORMATS_IMPL_JSON_INL_HPP_

#include <cmath>
#include <limits>
#include <optional>

#include "gemma/formats/json.hpp"

GEMMA_NAMESPACE_BEGIN
namespace json {
namespace detail {

/// Passes every event on, and notes where the text is wrong.
class Checked final : public nlohmann::json_sax<Value> {
 public:
  explicit Checked(nlohmann::json_sax<Value>* next) : next_(next) {}

  bool null() override { return next_ == nullptr || next_->null(); }
  bool boolean(bool v) override { return next_ == nullptr || next_->boolean(v); }
  bool number_integer(number_integer_t v) override {
    return next_ == nullptr || next_->number_integer(v);
  }
  bool number_unsigned(number_unsigned_t v) override {
    return next_ == nullptr || next_->number_unsigned(v);
  }
  bool number_float(number_float_t v, const string_t& text) override {
    return next_ == nullptr || next_->number_float(v, text);
  }
  bool string(string_t& v) override { return next_ == nullptr || next_->string(v); }
  bool binary(binary_t& v) override { return next_ == nullptr || next_->binary(v); }
  bool start_object(std::size_t n) override { return next_ == nullptr || next_->start_object(n); }
  bool key(string_t& v) override { return next_ == nullptr || next_->key(v); }
  bool end_object() override { return next_ == nullptr || next_->end_object(); }
  bool start_array(std::size_t n) override { return next_ == nullptr || next_->start_array(n); }
  bool end_array() override { return next_ == nullptr || next_->end_array(); }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    wrong_at = position;
    return false;
  }

  std::optional<std::size_t> wrong_at;

 private:
  nlohmann::json_sax<Value>* next_;
};

/// Short text of a value, for messages.
inline std::string excerpt(const Value& value) {
  constexpr std::size_t kLongest = 40;
  // dump() descends by recursion, and files nest as deeply as they like.
  if (value.is_object()) return "an object";
  if (value.is_array()) return "a list";
  std::string text = value.dump(-1, ' ', true, Value::error_handler_t::replace);
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "…";
  return text;
}

}  // namespace detail

GEMMA_INLINE Status parse_events(Bytes bytes, const std::string& name,
                                 nlohmann::json_sax<Value>& handler) {
  detail::Checked checked(&handler);
  const bool whole = Value::sax_parse(bytes.begin(), bytes.end(), &checked);
  if (whole || !checked.wrong_at) return {};
  return Error(ErrorCode::format, name + ": is not valid JSON (at byte " +
                                      std::to_string(*checked.wrong_at) +
                                      "); is the download complete?");
}

GEMMA_INLINE Result<Value> parse(Bytes bytes, const std::string& name) {
  Value value = Value::parse(bytes.begin(), bytes.end(), nullptr, /*allow_exceptions=*/false);
  if (!value.is_discarded()) return value;
  detail::Checked checked(nullptr);
  (void)Value::sax_parse(bytes.begin(), bytes.end(), &checked);
  return Error(ErrorCode::format, name + ": is not valid JSON (at byte " +
                                      std::to_string(checked.wrong_at.value_or(0)) +
                                      "); is the download complete?");
}

GEMMA_INLINE Result<Object> Object::of(const Value& value, const std::string& name) {
  if (value.is_object()) return Object(&value, name);
  return Error(ErrorCode::format,
               name + ": holds " + detail::excerpt(value) + ", expected a JSON object");
}

GEMMA_INLINE const Value* Object::find(const char* key) const {
  if (value_ == nullptr) return nullptr;
  const auto found = value_->find(key);
  return found == value_->end() || found->is_null() ? nullptr : &*found;
}

GEMMA_INLINE Error Object::error(const char* key, const std::string& what) const {
  return Error(ErrorCode::format, name_ + ": key '" + path_ + key + "' " + what);
}

GEMMA_INLINE Error Object::mismatch(const char* key, const Value& found,
                                    const char* expected) const {
  return error(key, "is " + detail::excerpt(found) + ", expected " + expected);
}

GEMMA_INLINE Result<std::size_t> Object::size_of(const char* key, const Value& value) const {
  constexpr std::uint64_t kLimit = std::uint64_t{1} << 31;
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() >= kLimit) {
    return mismatch(key, value, "an integer from 0 to 2^31 - 1");
  }
  return static_cast<std::size_t>(value.get<std::uint64_t>());
}

GEMMA_INLINE Result<std::size_t> Object::size(const char* key) const {
  if (const Value* value = find(key)) return size_of(key, *value);
  return error(key, "is missing");
}

GEMMA_INLINE Result<std::size_t> Object::size_or(const char* key, std::size_t fallback) const {
  return has(key) ? size(key) : fallback;
}

GEMMA_INLINE Result<float> Object::number_or(const char* key, float fallback) const {
  const Value* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_number()) return mismatch(key, *value, "a number");
  const double number = value->get<double>();
  if (std::abs(number) > double{(std::numeric_limits<float>::max)()}) {
    return mismatch(key, *value, "a number that float32 can hold");
  }
  return static_cast<float>(number);
}

GEMMA_INLINE Result<bool> Object::flag_or(const char* key, bool fallback) const {
  const Value* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) return mismatch(key, *value, "true or false");
  return value->get<bool>();
}

GEMMA_INLINE Result<std::string> Object::text_or(const char* key,
                                                 const std::string& fallback) const {
  const Value* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_string()) return mismatch(key, *value, "a string");
  return value->get<std::string>();
}

GEMMA_INLINE Result<Object> Object::object(const char* key) const {
  const Value* value = find(key);
  if (value == nullptr) return Object(nullptr, name_, path_ + key + ".");
  if (!value->is_object()) return mismatch(key, *value, "an object");
  return Object(value, name_, path_ + key + ".");
}

GEMMA_INLINE Result<std::vector<float>> Object::numbers(const char* key, std::size_t count) const {
  const Value* value = find(key);
  if (value == nullptr) return error(key, "is missing");
  if (value->is_number()) return std::vector<float>(count, static_cast<float>(value->get<double>()));
  if (!value->is_array() || value->size() != count) {
    return mismatch(key, *value, ("a list of " + std::to_string(count) + " numbers").c_str());
  }
  std::vector<float> numbers;
  for (const Value& element : *value) {
    if (!element.is_number()) return mismatch(key, element, "a number in the list");
    numbers.push_back(static_cast<float>(element.get<double>()));
  }
  return numbers;
}

GEMMA_INLINE Result<std::vector<std::size_t>> Object::sizes(const char* key,
                                                            std::size_t count) const {
  const Value* value = find(key);
  if (value == nullptr || !value->is_array()) {
    GEMMA_TRY_ASSIGN(const std::size_t all, size(key));
    return std::vector<std::size_t>(count, all);
  }
  if (value->size() != count) {
    return mismatch(key, *value, ("a list of " + std::to_string(count) + " integers").c_str());
  }
  std::vector<std::size_t> sizes;
  for (const Value& element : *value) {
    GEMMA_TRY_ASSIGN(const std::size_t size, size_of(key, element));
    sizes.push_back(size);
  }
  return sizes;
}

}  // namespace json
GEMMA_NAMESPACE_END

#endif  // GEMMA_FORMATS_IMPL_JSON_INL_HPP_
