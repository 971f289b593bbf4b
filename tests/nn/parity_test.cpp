// Every reference model: logits, log-probs, gradients and greedy ids of transformers.
#include <nlohmann/json.hpp>

#include "data/file.h"
#include "nn/batch.h"
#include "nn/generate.h"
#include "tests/nn/golden.h"

namespace r1::testing {
namespace {

const nlohmann::json& gaps(const std::string& name) {
  static const auto index = nlohmann::json::parse(read_text_file(golden("models/index.json")));
  for (const auto& m : index.at("models")) {
    if (m.at("name") == name) return m.at("f32_vs_f64");
  }
  throw Error("no such golden model");
}

// Four times the f32-f64 gap of the reference, or 1e-5.
double f32_tolerance(const std::string& name, const char* key) {
  return std::max(4 * gaps(name).at(key).get<double>(), 1e-5);
}

class Parity : public ::testing::TestWithParam<const char*> {
 protected:
  std::string name() const { return GetParam(); }
};

TEST_P(Parity, Logits) {
  const GoldenModel g(name());
  const auto rows = g.rows();
  for (const DType dtype : {DType::f64, DType::f32}) {
    const auto model = g.source.load(dtype);
    const Tensor logits = model->logits(model->hidden(nn::pack_sequences(model->config(), rows)));
    const double worst = max_abs_difference(logits.to_vector(), g.numbers("logits_f64"));
    EXPECT_LE(worst, dtype == DType::f64 ? 1e-9 : f32_tolerance(name(), "logits_max_abs"));
  }
}

TEST_P(Parity, LogprobsAndLoss) {
  const GoldenModel g(name());
  for (const DType dtype : {DType::f64, DType::f32}) {
    const auto model = g.source.load(dtype);
    std::vector<double> got;
    for (const auto& row : nn::score(*model, g.rows()))
      got.insert(got.end(), row.begin(), row.end());
    const double worst = max_abs_difference(got, g.numbers("logprobs"));
    EXPECT_LE(worst, dtype == DType::f64 ? 1e-9 : f32_tolerance(name(), "logprobs_max_abs"));
  }
}

TEST_P(Parity, Gradients) {
  const GoldenModel g(name());
  std::vector<Example> examples;
  for (const auto& row : g.rows()) examples.push_back({row, {}});
  for (const DType dtype : {DType::f64, DType::f32}) {
    const auto model = g.source.load(dtype);
    const nn::Batch batch = nn::make_batch(model->config(), examples);
    Recording recording;
    const Tensor loss = affine(sum(nn::target_logprobs(*model, batch)), -1, 0);
    recording.backward(loss, 1.0 / static_cast<double>(batch.count()));
    const double tolerance =
        dtype == DType::f64 ? 1e-6 : f32_tolerance(name(), "grad_max_rel_to_tensor_absmax");
    for (const NamedParameter& p : model->parameters()) {
      const auto want = g.numbers("grad." + p.name);
      EXPECT_LE(max_abs_difference(p.parameter->grad.to_vector(), want), tolerance * max_abs(want))
          << p.name;
    }
  }
}

TEST_P(Parity, GreedyIds) {
  const GoldenModel g(name());
  const std::vector<std::vector<std::int32_t>> prompts{g.ids("greedy_prompt")};
  const auto want = g.ids("greedy");
  for (const DType dtype : {DType::f64, DType::f32}) {
    const auto model = g.source.load(dtype);
    nn::Sampling s;
    s.temperature = 0;
    s.max_new_tokens = static_cast<std::int64_t>(want.size());
    const auto got = nn::generate(*model, prompts, s);
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(got[0].ids, want);
  }
}

// Rows shortened and left-padded: pads are left out of the packed batch, so that a padded row is
// the row itself.
TEST_P(Parity, LeftPaddedRows) {
  const GoldenModel g(name());
  if (g.expected.find("pad.logits") == nullptr) GTEST_SKIP() << "no padded rows in this model";
  const auto ids = g.rows("pad.input_ids"), mask = g.rows("pad.attention_mask");
  const auto want = g.numbers("pad.logits");
  const auto model = g.source.load(DType::f64);
  std::vector<std::vector<std::int32_t>> rows(ids.size());
  for (std::size_t b = 0; b < ids.size(); ++b) {
    for (std::size_t t = 0; t < ids[b].size(); ++t) {
      if (mask[b][t] != 0) rows[b].push_back(ids[b][t]);
    }
  }
  const auto got =
      model->logits(model->hidden(nn::pack_sequences(model->config(), rows))).to_vector();
  const auto V = static_cast<std::size_t>(model->config().vocab_size);
  std::size_t at = 0, cell = 0;
  double worst = 0;
  for (std::size_t b = 0; b < ids.size(); ++b) {
    for (std::size_t t = 0; t < ids[b].size(); ++t, ++cell) {
      if (mask[b][t] == 0) continue;
      for (std::size_t v = 0; v < V; ++v) {
        worst = std::max(worst, std::abs(got[at * V + v] - want[cell * V + v]));
      }
      ++at;
    }
  }
  EXPECT_LE(worst, f32_tolerance(name(), "pad_logits_max_abs"));  // stored as f32
}

INSTANTIATE_TEST_SUITE_P(Models, Parity,
                         ::testing::Values("llama_plain", "llama3_rope", "qwen2", "qwen3"),
                         [](const auto& model) { return std::string(model.param); });

}  // namespace
}  // namespace r1::testing
