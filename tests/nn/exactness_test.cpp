// The exactness contract through whole models: equal bits for any thread count, batch, padding,
// cache and packing; micro-batches give the gradient of the batch.
#include "nn/batch.h"
#include "nn/generate.h"
#include "optim/train_step.h"
#include "tensor/parallel.h"
#include "tensor/random.h"
#include "tests/nn/golden.h"

namespace r1::testing {
namespace {

using Ids = std::vector<std::int32_t>;

std::vector<Ids> random_rows(std::int64_t vocab, std::initializer_list<int> lengths) {
  const Random random(7, Purpose::test);
  std::vector<Ids> rows;
  for (const int n : lengths) {
    Ids row;
    for (int t = 0; t < n; ++t) {
      row.push_back(static_cast<std::int32_t>(
          random.below(static_cast<std::uint32_t>(vocab), static_cast<std::uint32_t>(t),
                       static_cast<std::uint32_t>(rows.size()))));
    }
    rows.push_back(row);
  }
  return rows;
}

class Exactness : public ::testing::TestWithParam<std::tuple<const char*, DType>> {
 protected:
  Exactness()
      : golden_(std::get<0>(GetParam())), model_(golden_.source.load(std::get<1>(GetParam()))) {
    rows_ = random_rows(model_->config().vocab_size, {17, 1, 40, 33, 2, 64});
  }
  ~Exactness() override { set_thread_count(2); }

  std::vector<double> logits(const std::vector<Ids>& rows) {
    return model_->logits(model_->hidden(nn::pack_sequences(model_->config(), rows))).to_vector();
  }
  std::vector<std::vector<double>> gradients(const std::vector<Ids>& rows,
                                             std::int64_t micro_batch_tokens) {
    std::vector<Example> examples;
    double targets = 0;
    for (const Ids& row : rows) {
      examples.push_back({row, {}});
      targets += static_cast<double>(examples.back().targets());
    }
    const auto ends = nn::split_by_tokens(examples, micro_batch_tokens);
    parts_ = ends.size();
    optim::accumulate_gradients(model_->parameters(), ends.size(), targets, [&](std::size_t i) {
      const std::size_t begin = i == 0 ? 0 : ends[i - 1];
      const auto part = std::span(examples).subspan(begin, ends[i] - begin);
      return affine(sum(nn::target_logprobs(*model_, nn::make_batch(model_->config(), part))), -1,
                    0);
    });
    std::vector<std::vector<double>> all;
    for (const NamedParameter& p : model_->parameters()) {
      all.push_back(p.parameter->gradient().to_vector());
    }
    return all;
  }

  GoldenModel golden_;
  std::unique_ptr<nn::Transformer> model_;
  std::vector<Ids> rows_;
  std::size_t parts_ = 0;
};

TEST_P(Exactness, ThreadsChangeNoBit) {
  set_thread_count(1);
  const auto want = logits(rows_);
  const auto want_gradients = gradients(rows_, 1000);
  for (const int threads : {2, 3, 4}) {
    set_thread_count(threads);
    EXPECT_EQ(logits(rows_), want) << threads;
    EXPECT_EQ(gradients(rows_, 1000), want_gradients) << threads;
  }
}

TEST_P(Exactness, ARowAloneIsTheRowInABatch) {
  const auto together = logits(rows_);
  std::size_t at = 0;
  for (const Ids& row : rows_) {
    const auto alone = logits({row});
    const std::vector<double> part(
        together.begin() + static_cast<std::ptrdiff_t>(at),
        together.begin() + static_cast<std::ptrdiff_t>(at + alone.size()));
    EXPECT_EQ(alone, part);
    at += alone.size();
  }
}

TEST_P(Exactness, DecodingTokenByTokenIsOneForwardPass) {
  const Ids& row = rows_.back();
  const auto want = logits({row});
  nn::KvCache cache = model_->make_cache(3, 70);
  std::vector<double> got;
  // A first piece of 5 tokens, then one by one, in a slot in the middle, with another sequence in
  // the batch.
  const Ids other = rows_[3];
  std::int64_t position = 0;
  while (position < static_cast<std::int64_t>(row.size())) {
    const std::int64_t n = position == 0 ? 5 : 1;
    std::vector<std::int32_t> ids, positions;
    nn::Tokens tokens;
    const bool both = position + n <= static_cast<std::int64_t>(other.size());
    if (both) {
      tokens.cache_rows.push_back({0, n, 2, position});
      for (std::int64_t i = 0; i < n; ++i) {
        ids.push_back(other[static_cast<std::size_t>(position + i)]);
        positions.push_back(static_cast<std::int32_t>(position + i));
      }
    }
    tokens.cache_rows.push_back({both ? n : 0, n, 1, position});
    for (std::int64_t i = 0; i < n; ++i) {
      ids.push_back(row[static_cast<std::size_t>(position + i)]);
      positions.push_back(static_cast<std::int32_t>(position + i));
    }
    const Shape shape{static_cast<std::int64_t>(ids.size())};
    tokens.ids = Tensor::from(ids, shape);
    tokens.positions = Tensor::from(positions, shape);
    tokens.cache = &cache;
    const Tensor all = model_->logits(model_->hidden(tokens));
    const auto mine = all.narrow(both ? n : 0, n).to_vector();
    got.insert(got.end(), mine.begin(), mine.end());
    position += n;
  }
  EXPECT_EQ(got, want);
}

TEST_P(Exactness, MicroBatchesGiveTheGradientOfTheBatch) {
  const auto rows = random_rows(model_->config().vocab_size, {20, 20, 20, 20, 20, 20, 20, 20});
  const auto whole = gradients(rows, 1000);
  const double tolerance = std::get<1>(GetParam()) == DType::f64 ? 1e-12 : 1e-6;
  for (const std::int64_t tokens : {80, 40, 20}) {
    const auto split = gradients(rows, tokens);
    EXPECT_EQ(parts_, static_cast<std::size_t>(160 / tokens));
    for (std::size_t i = 0; i < whole.size(); ++i) {
      EXPECT_LE(max_abs_difference(split[i], whole[i]), tolerance * max_abs(whole[i]))
          << model_->parameters()[i].name << " in " << parts_;
    }
  }
}

TEST_P(Exactness, RecomputedBlocksGiveTheSameGradient) {
  const auto want = gradients(rows_, 1000);
  model_->set_recompute(true);
  EXPECT_EQ(gradients(rows_, 1000), want);
}

TEST_P(Exactness, SampledLogprobsAreScoredLogprobs) {
  nn::Sampling s;
  s.max_new_tokens = 12;
  s.samples = 3;
  s.seed = 5;
  s.max_batch = 4;
  for (const auto& c : nn::generate(*model_, rows_, s)) {
    Ids all = rows_[static_cast<std::size_t>(c.prompt)];
    const std::size_t prompt = all.size();
    all.insert(all.end(), c.ids.begin(), c.ids.end());
    const auto scored = nn::score(*model_, {{all}})[0];
    const std::vector<double> tail(scored.begin() + static_cast<std::ptrdiff_t>(prompt - 1),
                                   scored.end());
    EXPECT_EQ(tail, c.logprobs);
  }
}

TEST_P(Exactness, CompletionsDoNotDependOnTheirBatch) {
  nn::Sampling s;
  s.max_new_tokens = 9;
  s.samples = 2;
  s.stop_ids = {3, 4, 5};
  s.seed = 11;
  s.top_p = 0.9;
  const auto together = nn::generate(*model_, rows_, s);
  ASSERT_EQ(together.size(), rows_.size() * 2);
  for (const std::int64_t batch : {1, 2, 5}) {
    s.max_batch = batch;
    const auto again = nn::generate(*model_, rows_, s);
    for (std::size_t i = 0; i < together.size(); ++i) {
      EXPECT_EQ(again[i].ids, together[i].ids);
      EXPECT_EQ(again[i].logprobs, together[i].logprobs);
    }
  }
  // A prompt alone, as the first line of another file.
  const auto alone = nn::generate(*model_, {{rows_[2]}}, s);
  EXPECT_EQ(alone[1].ids, together[5].ids);
  // Another seed gives something else.
  s.seed = 12;
  EXPECT_NE(nn::generate(*model_, {{rows_[2]}}, s)[1].ids, together[5].ids);
}

INSTANTIATE_TEST_SUITE_P(Models, Exactness,
                         ::testing::Combine(::testing::Values("llama_plain", "llama3_rope", "qwen2",
                                                              "qwen3"),
                                            ::testing::Values(DType::f32, DType::f64)),
                         [](const auto& model) {
                           return std::string(std::get<0>(model.param)) + "_" +
                                  name_of(std::get<1>(model.param));
                         });

}  // namespace
}  // namespace r1::testing
