// The small model that ships, tests/data/kjv-small.gguf: that it writes English, and gives a psalm
// it never saw the likelihood that PyTorch gives it (tools/train_small_model prints that figure).
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "gemma/gemma.hpp"
#include "gemma/model/reference.hpp"
#include "golden.hpp"
#include "test_data.hpp"

namespace {

using gemma::Session;
using gemma::Span;
using gemma::TokenId;

gemma::Model small() { return gemma::load(data_path("kjv-small.gguf")); }

const std::string kPsalm23 =
    "The LORD is my shepherd; I shall not want.\n"
    "He maketh me to lie down in green pastures: he leadeth me beside the still waters.\n"
    "He restoreth my soul: he leadeth me in the paths of righteousness for his name's sake.\n"
    "Yea, though I walk through the valley of the shadow of death, I will fear no evil: for thou "
    "art with me; thy rod and thy staff they comfort me.\n"
    "Thou preparest a table before me in the presence of mine enemies: thou anointest my head with "
    "oil; my cup runneth over.\n"
    "Surely goodness and mercy shall follow me all the days of my life: and I will dwell in the "
    "house of the LORD for ever.";

std::string words_backwards(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  std::string out;
  while (!text.empty()) {
    const std::size_t space = text.rfind(' ');
    const std::size_t begin = space == std::string::npos ? 0 : space + 1;
    out += (out.empty() ? "" : " ") + text.substr(begin);
    text.resize(space == std::string::npos ? 0 : space);
  }
  return out;
}

/// BOS, the text, EOS.
std::vector<TokenId> chapter(const gemma::Model& model, const std::string& text) {
  gemma::EncodeOptions options;
  options.bos = true;
  std::vector<TokenId> ids = model.tokenizer().encode(text, options);
  ids.push_back(*model.tokenizer().eos());
  return ids;
}

/// −log2 p of a chapter per byte of its text and one for its end.
double bits_per_byte(const Rows& rows, const std::vector<TokenId>& ids, const std::string& text) {
  double nats = 0.0;
  for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
    nats += logsumexp(rows[i]) - double{rows[i][static_cast<std::size_t>(ids[i + 1])]};
  }
  return nats / std::log(2.0) / static_cast<double>(text.size() + 1);
}

double bits_by_session(const gemma::Model& model, const std::string& text, std::size_t batch) {
  const std::vector<TokenId> ids = chapter(model, text);
  gemma::SessionOptions options;
  options.batch = batch;
  Session session(model, options);
  Rows rows;
  gemma::Outputs outputs;
  outputs.logit_rows = ids.size();
  outputs.logits = [&](std::size_t, Span<float> row) { rows.emplace_back(row.begin(), row.end()); };
  REQUIRE(session.try_evaluate(ids, outputs).ok());
  return bits_per_byte(rows, ids, text);
}

double bits_by_reference(const gemma::Model& model, const std::string& text) {
  const std::vector<TokenId> ids = chapter(model, text);
  gemma::reference::Model reference(model.config(), model.weights());
  const gemma::reference::Matrix logits = reference.forward(ids, ids.size());
  Rows rows;
  for (std::size_t r = 0; r < logits.rows; ++r) {
    rows.emplace_back(logits.row(r), logits.row(r) + logits.cols);
  }
  return bits_per_byte(rows, ids, text);
}

}  // namespace

TEST_CASE("small model: a prompt is continued in English, by the reference just so") {
  const gemma::Model model = small();
  gemma::GenerateOptions options;
  options.sampler.temperature = 0.0f;
  options.max_tokens = 40;
  const gemma::GenerateResult result = Session(model).generate("In the beginning", {}, options);
  CHECK(result.text ==
        " of the reign of Asa king of Judah began to reign, and reigned he in Jerusalem.\n"
        "And he did that which was right in the sight of the LORD, and in the sight");

  gemma::reference::Model reference(model.config(), model.weights());
  std::vector<TokenId> next = result.prompt_ids;
  for (const TokenId id : result.ids) {
    const gemma::reference::Matrix logits = reference.forward(next, 1);
    REQUIRE(gemma::greedy_token(Span<const float>(logits.values)) == id);
    next = {id};
  }
}

TEST_CASE("small model: a psalm that was held out is as likely as PyTorch finds it") {
  const gemma::Model model = small();
  const double pytorch = 1.27416;
  CHECK(bits_by_reference(model, kPsalm23) == doctest::Approx(pytorch).epsilon(1e-4));
  // Activations of small batches have 15 bits, those of large ones 8.
  CHECK(bits_by_session(model, kPsalm23, 1) == doctest::Approx(pytorch).epsilon(1e-3));
  CHECK(bits_by_session(model, kPsalm23, 512) == doctest::Approx(pytorch).epsilon(1e-2));
}

TEST_CASE("small model: words in their order are far likelier than backwards") {
  const gemma::Model model = small();
  const double bits = bits_by_session(model, kPsalm23, 512);
  CHECK(bits < 2.5);
  CHECK(bits_by_session(model, words_backwards(kPsalm23), 512) > bits + 1.0);
}

TEST_CASE("small model: text becomes the ids of SentencePiece, and text again") {
  const gemma::Model model = small();
  const gemma::Tokenizer& tokenizer = model.tokenizer();
  CHECK(tokenizer.encode("The LORD is my shepherd; I shall not want.") ==
        std::vector<TokenId>{455, 347, 341, 384, 507, 490, 273, 1484, 1502, 309, 321, 350, 272, 478,
                             1497});
  CHECK(tokenizer.encode("naïve 日本\n\n  x") ==
        std::vector<TokenId>{1480, 1478, 202, 182, 323, 1474, 237, 158, 172, 237, 163, 179, 6, 6,
                             1474, 1474, 1524});
  for (const std::string& text : {kPsalm23, std::string("naïve 日本\n\n  x")}) {
    CHECK(tokenizer.decode(tokenizer.encode(text)) == text);
  }
}
