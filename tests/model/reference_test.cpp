#include "gemma/model/reference.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "golden.hpp"

namespace {

using gemma::Span;
using gemma::TokenId;

Rows to_rows(const gemma::reference::Matrix& m) {
  Rows rows;
  for (std::size_t r = 0; r < m.rows; ++r) rows.emplace_back(m.row(r), m.row(r) + m.cols);
  return rows;
}

void check_reference(const Golden& golden) {
  gemma::reference::Model whole(golden.model.config(), golden.model.weights());
  check_golden(golden, to_rows(whole.forward(golden.input_ids, golden.input_ids.size())));

  gemma::reference::Model stepwise(golden.model.config(), golden.model.weights());
  check_greedy(golden, [&](const std::vector<TokenId>& ids) {
    return to_rows(stepwise.forward(ids, 1)).back();
  });
}

}  // namespace

TEST_CASE("the reference model agrees with the float32 golden models") {
  for (const std::string& name : kGoldenF32) check_reference(Golden::load(name, "f32"));
}

TEST_CASE("the reference model agrees with the Q8_0 golden models") {
  for (const std::string& name : kGoldenQ8) check_reference(Golden::load(name, "q8_0"));
}

TEST_CASE("the reference model gives the same in one go and token by token") {
  const Golden golden = Golden::load("gemma3_swa", "q8_0");
  gemma::reference::Model whole(golden.model.config(), golden.model.weights());
  const Rows want = to_rows(whole.forward(golden.input_ids, golden.input_ids.size()));
  gemma::reference::Model steps(golden.model.config(), golden.model.weights());
  for (std::size_t i = 0; i < golden.input_ids.size(); ++i) {
    const Span<const TokenId> one(golden.input_ids.data() + i, 1);
    CHECK(to_rows(steps.forward(one, 1)).back() == want[i]);
  }
}
