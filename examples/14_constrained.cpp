// Output that must have a form: a filter forbids every token that would leave it.
//
// Build: g++ -std=c++17 -O2 -march=native -I include examples/14_constrained.cpp -o constrained -pthread
// Run:   ./constrained "$(tools/get_model)"
// Or, without a download: ./constrained tests/data/kjv-small.gguf
#include <gemma/gemma.hpp>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

/// Which texts may be written: goes along byte by byte.
struct Choices {
  std::vector<std::string> texts;
  std::string so_far;

  bool push(char c) {
    so_far += c;
    for (const std::string& text : texts) {
      if (text.compare(0, so_far.size(), so_far) == 0) return true;
    }
    return false;
  }
  bool complete() const {
    for (const std::string& text : texts) {
      if (text == so_far) return true;
    }
    return false;
  }
};

/// JSON (RFC 8259) of objects, lists, strings and whole numbers, without spaces. What may come next
/// depends on the place and on what is still open. After 60 bytes it only lets things end.
class Json {
 public:
  bool push(char c) {
    const bool late = ++bytes_ > 60;
    if (at_ == At::string && c != '"') return !late && static_cast<unsigned char>(c) >= 0x20 && c != '\\';
    if (at_ == At::string) return go(is_key_ ? At::colon : after_value(), true);
    if (at_ == At::number && c >= '0' && c <= '9') return !late;
    if (at_ == At::number) at_ = after_value();
    const bool in_list = !open_.empty() && open_.back() == '[';
    switch (at_) {
      case At::first_item: return c == ']' ? close() : !late && value(c);
      case At::value: return value(c);
      case At::first_key: return c == '}' ? close() : !late && key(c);
      case At::key: return key(c);
      case At::colon: return go(At::value, c == ':');
      case At::comma:
        if (c == (in_list ? ']' : '}')) return close();
        return go(in_list ? At::value : At::key, c == ',' && !late);
      default: return false;
    }
  }
  bool complete() const { return at_ == At::end; }

 private:
  enum class At { value, first_item, first_key, key, colon, string, number, comma, end };

  bool go(At next, bool allowed) {
    at_ = next;
    return allowed;
  }
  bool key(char c) {
    is_key_ = true;
    return go(At::string, c == '"');
  }
  bool value(char c) {
    is_key_ = false;
    if (c == '"') return go(At::string, true);
    if (c != '[' && c != '{') return go(At::number, c >= '1' && c <= '9');
    open_ += c;
    return go(c == '[' ? At::first_item : At::first_key, open_.size() <= 3);
  }
  bool close() {
    open_.pop_back();
    return go(after_value(), true);
  }
  At after_value() const { return open_.empty() ? At::end : At::comma; }

  At at_ = At::value;
  std::string open_;  ///< '{' and '[' that are not closed
  bool is_key_ = false;
  std::size_t bytes_ = 0;
};

/// Generates with only those tokens allowed that `form` can take.
template <class Form>
std::string generate(const gemma::Model& model, const std::string& prompt, Form form) {
  const gemma::Tokenizer& tokenizer = model.tokenizer();
  gemma::GenerateOptions options;
  options.max_tokens = 100;
  options.sampler.seed = 3;
  std::string text;
  options.logit_filter = [&](gemma::Span<float> logits) {
    for (std::size_t i = 0; i < logits.size(); ++i) {
      const auto id = static_cast<gemma::TokenId>(i);
      const std::string bytes = tokenizer.token_bytes(id);
      Form after = form;
      bool fits = bytes.empty() ? form.complete() && model.is_stop(id) : true;
      for (const char c : bytes) fits = fits && after.push(c);
      if (!fits) logits[i] = -INFINITY;
    }
  };
  gemma::Session session(model);
  session.generate(prompt, [&](std::string_view piece) {
    for (const char c : piece) form.push(c);
    text += piece;
    return !form.complete();
  }, options);
  return text;
}

int main(int argc, char** argv) {
  const gemma::Model model = gemma::load(argc > 1 ? argv[1] : "tests/data/kjv-small.gguf");
  const Choices answers{{" light", " darkness", " water"}, ""};
  std::printf("choice: And God said, Let there be%s\n", generate(model, "And God said, Let there be", answers).c_str());
  Json list;
  list.push('[');
  std::printf("JSON:   [%s\n", generate(model, "Three names as a JSON list: [", list).c_str());
}
