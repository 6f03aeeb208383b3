#include "gemma/formats/json.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

namespace {

namespace json = gemma::json;

gemma::Bytes bytes_of(const std::string& text) {
  return gemma::Bytes(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
}

}  // namespace

TEST_CASE("text that is no JSON is refused with the place where it stops being it") {
  for (const std::string text : {R"({"a": 1)", R"({"a": })", "", "\xff", R"({"a": 1} x)"}) {
    const auto parsed = json::parse(bytes_of(text), "config.json");
    REQUIRE(!parsed.ok());
    CHECK(parsed.error().message().find("config.json: is not valid JSON (at byte") == 0);
  }
}

TEST_CASE("deeply nested text neither overflows the stack nor is taken for an object") {
  const std::string deep = std::string(200000, '[') + std::string(200000, ']');
  const auto parsed = json::parse(bytes_of(deep), "deep");
  REQUIRE(parsed.ok());
  CHECK(!json::Object::of(*parsed, "deep").ok());
}

TEST_CASE("keys that are missing or null take the fallback, others must have the right type") {
  const json::Value value = json::Value::parse(
      R"({"n": 3, "x": 0.5, "flag": true, "text": "a", "none": null, "minus": -1, "big": 2147483648,
          "list": [1, 2], "inner": {"n": "seven"}})");
  const json::Object object = *json::Object::of(value, "f");
  CHECK(*object.size("n") == 3);
  CHECK(*object.size_or("absent", 7) == 7);
  CHECK(*object.size_or("none", 7) == 7);
  CHECK(object.mentions("none"));
  CHECK(!object.has("none"));
  CHECK(*object.number_or("x", 0.0f) == 0.5f);
  CHECK(*object.number_or("n", 0.0f) == 3.0f);
  CHECK(*object.flag_or("flag", false));
  CHECK(*object.text_or("text", "") == "a");
  CHECK(*object.sizes("list", 2) == std::vector<std::size_t>{1, 2});
  CHECK(*object.sizes("n", 2) == std::vector<std::size_t>{3, 3});
  CHECK(*object.numbers("list", 2) == std::vector<float>{1.0f, 2.0f});
  CHECK(object.size("absent").error().message() == "f: key 'absent' is missing");
  CHECK(object.size("minus").error().message() ==
        "f: key 'minus' is -1, expected an integer from 0 to 2^31 - 1");
  CHECK(!object.size("big").ok());
  CHECK(!object.flag_or("n", true).ok());
  CHECK(!object.number_or("text", 0.0f).ok());
  CHECK(!object.sizes("list", 3).ok());
  CHECK(!object.object("n").ok());
  const json::Object inner = *object.object("inner");
  CHECK(inner.size("n").error().message() ==
        "f: key 'inner.n' is \"seven\", expected an integer from 0 to 2^31 - 1");
  CHECK(*object.object("absent")->size_or("n", 4) == 4);
}
