#include "gemma/backend/fallback.hpp"

#include <doctest/doctest.h>

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "float_weights.hpp"
#include "gemma/backend/cpu.hpp"
#include "gemma/generate/model.hpp"
#include "gemma/generate/sampler.hpp"
#include "test_data.hpp"

namespace {

using gemma::Error;
using gemma::ErrorCode;
using gemma::FallbackRunner;
using gemma::Outputs;
using gemma::Result;
using gemma::Runner;
using gemma::Span;
using gemma::Status;
using gemma::TokenId;

/// The tiny model with float32 weights: then tokens read in one batch are rounded hardly otherwise
/// than those read one by one.
struct TinyModel {
  gemma::Model model = gemma::load(data_path("tiny-gemma3.gguf"));
  FloatWeights floats{model.weights()};
};

Result<std::unique_ptr<Runner>> make_cpu(const TinyModel& tiny) {
  gemma::CpuOptions options;
  options.context = 64;
  options.batch = 16;
  options.threads = 1;
  options.kv_type = gemma::simd::KvType::f32;
  return create_cpu_runner(tiny.model.config(), tiny.floats.weights(), options);
}

constexpr std::size_t kNever = 1000;

/// How a device fails.
struct Failure {
  std::size_t at = kNever;      ///< this forward(), from 0
  std::size_t outputs = 0;      ///< after so many calls of sinks in it
  ErrorCode code = ErrorCode::backend;
};

/// The CPU, posing as a device that fails.
class FailingRunner final : public Runner {
 public:
  FailingRunner(std::unique_ptr<Runner> cpu, Failure failure)
      : cpu_(std::move(cpu)), failure_(failure) {}

  Status forward(Span<const TokenId> ids, const Outputs& outputs) override {
    const bool fails = forwards_++ == failure_.at;
    std::size_t left = fails ? failure_.outputs : kNever;
    const auto may = [&] { return left > 0 && left-- > 0; };
    Outputs some;
    some.logit_rows = outputs.logit_rows;
    some.logits = [&](std::size_t index, Span<float> logits) {
      if (!may()) return;
      if (!outputs.best) return outputs.logits(index, logits);
      const TokenId id = gemma::greedy_token(logits);
      outputs.best(index, id, logits[static_cast<std::size_t>(id)]);
    };
    if (outputs.hidden) {
      some.hidden = [&](std::size_t index, Span<const float> hidden) {
        if (may()) outputs.hidden(index, hidden);
      };
    }
    const std::size_t before = cpu_->position();
    Status status = cpu_->forward(ids, some);
    if (!fails || !status) return status;
    cpu_->rewind(before);
    return Error(failure_.code, "the device is lost");
  }
  Result<std::vector<gemma::DrawnToken>> draw_greedily(TokenId first, std::size_t steps) override {
    std::vector<gemma::DrawnToken> drawn;
    const std::size_t before = cpu_->position();
    for (std::size_t step = 0; step < steps; ++step) {
      const TokenId id = step == 0 ? first : drawn.back().id;
      Outputs one;
      one.logit_rows = 1;
      one.logits = [&](std::size_t, Span<float> logits) {
        const TokenId next = gemma::greedy_token(logits);
        drawn.push_back({next, logits[static_cast<std::size_t>(next)]});
      };
      GEMMA_TRY(cpu_->forward(Span<const TokenId>(&id, 1), one));
    }
    if (forwards_++ != failure_.at) return drawn;
    cpu_->rewind(before);
    return Error(failure_.code, "the device is lost");
  }
  void rewind(std::size_t position) override { cpu_->rewind(position); }
  void reset() override { cpu_->reset(); }
  std::size_t position() const override { return cpu_->position(); }
  std::size_t context() const override { return cpu_->context(); }
  std::size_t max_batch() const override { return cpu_->max_batch(); }
  std::string description() const override { return "opencl: Fake 9000"; }

 private:
  std::unique_ptr<Runner> cpu_;
  Failure failure_;
  std::size_t forwards_ = 0;
};

/// A runner on a device that fails so, and what it logs.
struct Fixture {
  Fixture(const TinyModel& model, Failure failure)
      : runner(std::make_unique<FailingRunner>(*make_cpu(model), failure),
               [this, &model]() -> Result<std::unique_ptr<Runner>> {
                 ++cpus_made;
                 if (!cpu_works) return Error(ErrorCode::out_of_memory, "no memory for the CPU");
                 return make_cpu(model);
               },
               [this](gemma::LogLevel level, std::string_view line) {
                 CHECK(level == gemma::LogLevel::warning);
                 log.emplace_back(line);
               }) {}

  bool cpu_works = true;
  int cpus_made = 0;
  std::vector<std::string> log;
  FallbackRunner runner;
};

/// What came out of a sequence of forward passes, in this order.
struct Record {
  std::vector<std::size_t> indices;
  std::vector<std::vector<float>> rows;

  void add(std::size_t index, Span<const float> row) {
    indices.push_back(index);
    rows.emplace_back(row.begin(), row.end());
  }
};

void check_same(const Record& a, const Record& b) {
  CHECK(a.indices == b.indices);
  REQUIRE(a.rows.size() == b.rows.size());
  for (std::size_t r = 0; r < a.rows.size(); ++r) {
    REQUIRE(a.rows[r].size() == b.rows[r].size());
    for (std::size_t i = 0; i < a.rows[r].size(); ++i) {
      if (a.rows[r][i] != doctest::Approx(b.rows[r][i]).epsilon(1e-4)) {
        FAIL_CHECK("row " << r << ", number " << i << ": " << a.rows[r][i] << ", expected "
                          << b.rows[r][i]);
        break;
      }
    }
  }
}

const std::vector<TokenId> kPrompt = {2, 10, 20, 30, 40};
constexpr std::size_t kSteps = 8;

/// Reads the prompt, wanting several rows, and writes a few tokens.
std::vector<TokenId> write_greedily(Runner& runner, Record& record) {
  std::vector<TokenId> ids;
  std::vector<TokenId> next = kPrompt;
  Outputs outputs;
  outputs.logit_rows = 3;
  outputs.logits = [&](std::size_t index, Span<float> row) {
    record.add(index, row);
    if (index + 1 == next.size()) ids.push_back(gemma::greedy_token(row));
  };
  for (std::size_t step = 0; step < kSteps; ++step) {
    const Status status = runner.forward(next, outputs);
    REQUIRE_MESSAGE(status.ok(), status.error().message());
    REQUIRE(ids.size() == step + 1);
    next = {ids.back()};
    outputs.logit_rows = 1;
  }
  return ids;
}

/// Reads tokens whose outputs nobody wants.
Status read(Runner& runner, const std::vector<TokenId>& ids) { return runner.forward(ids, {}); }

std::vector<float> logits_after(Runner& runner, const std::vector<TokenId>& ids) {
  std::vector<float> logits;
  Outputs outputs;
  outputs.logit_rows = 1;
  outputs.logits = [&](std::size_t, Span<float> row) { logits.assign(row.begin(), row.end()); };
  const Status status = runner.forward(ids, outputs);
  REQUIRE_MESSAGE(status.ok(), status.error().message());
  return logits;
}

}  // namespace

TEST_CASE("whenever the device fails, the CPU writes the same on") {
  const TinyModel model;
  const std::unique_ptr<Runner> alone = *make_cpu(model);
  Record want;
  const std::vector<TokenId> ids = write_greedily(*alone, want);
  for (const std::size_t at : {std::size_t{0}, std::size_t{1}, std::size_t{2}, kSteps - 1}) {
    CAPTURE(at);
    Failure failure;
    failure.at = at;
    Fixture fixture(model, failure);
    Record record;
    CHECK(write_greedily(fixture.runner, record) == ids);
    check_same(record, want);
    CHECK(fixture.runner.position() == alone->position());
    CHECK(fixture.runner.description() == "cpu");
    const std::size_t read = at == 0 ? 0 : kPrompt.size() + at - 1;
    const std::string remark =
        "opencl: Fake 9000 failed in mid-generation (the device is lost); continued on the CPU "
        "from token " + std::to_string(read);
    CHECK(fixture.runner.remark() == remark);
    CHECK(fixture.log == std::vector<std::string>{remark});
    CHECK(fixture.cpus_made == 1);
  }
}

TEST_CASE("a device that does not fail is all that runs") {
  const TinyModel model;
  Fixture fixture(model, {});
  Record record;
  write_greedily(fixture.runner, record);
  CHECK(fixture.runner.description() == "opencl: Fake 9000");
  CHECK(fixture.runner.remark().empty());
  CHECK(fixture.log.empty());
  CHECK(fixture.cpus_made == 0);
}

TEST_CASE("what was handed out before the failure is not handed out again") {
  const TinyModel model;
  const auto everything = [](Runner& runner, Record& hidden, Record& logits) {
    REQUIRE(read(runner, {2, 7}).ok());
    Outputs outputs;
    outputs.logit_rows = 4;
    outputs.hidden = [&](std::size_t index, Span<const float> row) { hidden.add(index, row); };
    outputs.logits = [&](std::size_t index, Span<float> row) { logits.add(index, row); };
    REQUIRE(runner.forward(kPrompt, outputs).ok());
  };
  Record hidden, logits;
  everything(**make_cpu(model), hidden, logits);
  REQUIRE(hidden.indices == std::vector<std::size_t>{0, 1, 2, 3, 4});
  REQUIRE(logits.indices == std::vector<std::size_t>{1, 2, 3, 4});
  for (std::size_t outputs = 0; outputs <= 9; ++outputs) {
    CAPTURE(outputs);
    Fixture fixture(model, {1, outputs, ErrorCode::backend});
    Record hidden_here, logits_here;
    everything(fixture.runner, hidden_here, logits_here);
    check_same(hidden_here, hidden);
    check_same(logits_here, logits);
    CHECK(fixture.runner.description() == "cpu");
  }
}

TEST_CASE("the largest logit counts as the row it is of") {
  const TinyModel model;
  const std::vector<float> logits = logits_after(**make_cpu(model), kPrompt);
  for (std::size_t outputs = 0; outputs <= 1; ++outputs) {
    Fixture fixture(model, {0, outputs, ErrorCode::backend});
    std::vector<TokenId> ids;
    Outputs wanted;
    wanted.logit_rows = wanted.top = 1;
    wanted.logits = [&](std::size_t, Span<float> row) { ids.push_back(gemma::greedy_token(row)); };
    wanted.best = [&](std::size_t, TokenId id, float) { ids.push_back(id); };
    REQUIRE(fixture.runner.forward(kPrompt, wanted).ok());
    CHECK(ids == std::vector<TokenId>{gemma::greedy_token(Span<const float>(logits))});
  }
}

TEST_CASE("the CPU reads again only what was not rewound or reset") {
  const TinyModel model;
  const std::unique_ptr<Runner> alone = *make_cpu(model);
  REQUIRE(read(*alone, {2, 5, 6, 9}).ok());
  const std::vector<float> want = logits_after(*alone, {11});

  Fixture fixture(model, {3, 0, ErrorCode::backend});
  FallbackRunner& runner = fixture.runner;
  REQUIRE(read(runner, {2, 100, 101}).ok());
  runner.reset();
  REQUIRE(read(runner, {2, 5, 6, 7, 8}).ok());
  runner.rewind(3);
  REQUIRE(read(runner, {9}).ok());
  CHECK(runner.position() == 4);
  Record here, there;
  here.add(0, Span<const float>(logits_after(runner, {11})));
  there.add(0, Span<const float>(want));
  check_same(here, there);
  CHECK(runner.position() == 5);
  CHECK(runner.description() == "cpu");

  // And the CPU goes on like any runner.
  runner.rewind(4);
  CHECK(logits_after(runner, {11}) == here.rows[0]);
  runner.reset();
  CHECK(runner.position() == 0);
  CHECK_FALSE(runner.remark().empty());
}

TEST_CASE("more tokens than fit one batch are read again in several") {
  const TinyModel model;
  const std::unique_ptr<Runner> alone = *make_cpu(model);
  Fixture fixture(model, {3, 0, ErrorCode::backend});
  for (Runner* runner : {alone.get(), static_cast<Runner*>(&fixture.runner)}) {
    for (TokenId start : {2, 50, 90}) {
      std::vector<TokenId> ids;
      for (TokenId i = 0; i < 13; ++i) ids.push_back(start + i);
      REQUIRE(read(*runner, ids).ok());
    }
  }
  Record here, there;
  here.add(0, Span<const float>(logits_after(fixture.runner, {3})));
  there.add(0, Span<const float>(logits_after(*alone, {3})));
  check_same(here, there);
  CHECK(fixture.runner.position() == 40);
}

TEST_CASE("if the CPU cannot take over, both errors are told and the sequence is as it was") {
  const TinyModel model;
  Fixture fixture(model, {1, 0, ErrorCode::backend});
  fixture.cpu_works = false;
  REQUIRE(read(fixture.runner, kPrompt).ok());
  const Status status = read(fixture.runner, {3});
  REQUIRE_FALSE(status.ok());
  CHECK(status.error().code() == ErrorCode::backend);
  CHECK(status.error().message() ==
        "opencl: Fake 9000 failed in mid-generation (the device is lost), and the CPU cannot "
        "continue: no memory for the CPU");
  CHECK(fixture.runner.position() == kPrompt.size());
  CHECK(fixture.runner.remark().empty());
  // The device may have recovered.
  CHECK(read(fixture.runner, {3}).ok());
  CHECK(fixture.runner.description() == "opencl: Fake 9000");
}

TEST_CASE("errors that are not the device's are passed on") {
  const TinyModel model;
  Fixture fixture(model, {0, 0, ErrorCode::cancelled});
  CHECK(read(fixture.runner, kPrompt).error().code() == ErrorCode::cancelled);
  CHECK(fixture.cpus_made == 0);
  CHECK(fixture.runner.description() == "opencl: Fake 9000");
}

TEST_CASE("adapters are the CPU's work: it takes over, and stays") {
  const TinyModel tiny;
  Fixture fixture(tiny, {});
  const auto none = std::make_shared<gemma::LowRankTable>();
  REQUIRE(fixture.runner.set_adapters(none).ok());
  CHECK(fixture.runner.description() == "opencl: Fake 9000");
  CHECK(fixture.cpus_made == 0);

  const gemma::WeightMatrix& q = tiny.floats.weights().layers[0].q;
  const std::vector<float> numbers(q.cols + gemma::simd::low_rank_floats(1, q.rows));
  gemma::LowRank low_rank;
  low_rank.a.data = reinterpret_cast<const std::uint8_t*>(numbers.data());
  low_rank.a.rows = 1;
  low_rank.a.cols = q.cols;
  low_rank.a.row_bytes = q.cols * sizeof(float);
  low_rank.b = numbers.data();
  low_rank.outputs = q.rows;
  const auto some = std::make_shared<gemma::LowRankTable>();
  some->add(q, low_rank, nullptr);
  fixture.cpu_works = false;
  CHECK_FALSE(fixture.runner.set_adapters(some).ok());
  CHECK(fixture.runner.description() == "opencl: Fake 9000");
  fixture.cpu_works = true;
  REQUIRE(fixture.runner.set_adapters(some).ok());
  CHECK(fixture.runner.description() == "cpu");
  CHECK(fixture.runner.remark() == "adapters were set, which are applied on the CPU");
  REQUIRE(fixture.runner.set_adapters(nullptr).ok());
  CHECK(fixture.runner.description() == "cpu");
}

TEST_CASE("a device that fails while it draws several tokens is replaced, and nothing is drawn twice") {
  const TinyModel tiny;
  const auto plain = make_cpu(tiny).value();
  Record ignored;
  const std::vector<TokenId> want = write_greedily(*plain, ignored);
  for (const std::size_t at : {std::size_t{1}, std::size_t{2}, kNever}) {
    CAPTURE(at);
    Failure failure;
    failure.at = at;
    Fixture fixture(tiny, failure);
    TokenId next = -1;
    Outputs outputs;
    outputs.logit_rows = 1;
    outputs.logits = [&](std::size_t, Span<float> row) { next = gemma::greedy_token(row); };
    REQUIRE(fixture.runner.forward(kPrompt, outputs).ok());
    std::vector<TokenId> ids = {next};
    while (ids.size() < kSteps) {
      const auto drawn = fixture.runner.draw_greedily(ids.back(), 3);
      REQUIRE(drawn.ok());
      for (const gemma::DrawnToken& token : *drawn) ids.push_back(token.id);
      if (!drawn->empty()) continue;
      const TokenId last = ids.back();
      REQUIRE(fixture.runner.forward(Span<const TokenId>(&last, 1), outputs).ok());
      ids.push_back(next);
    }
    ids.resize(kSteps);
    CHECK(ids == want);
    CHECK(fixture.cpus_made == (at == kNever ? 0 : 1));
    CHECK((fixture.runner.description() == "cpu") == (at != kNever));
  }
}
