// Sampling: the distribution of the draws, the sets that top-k, top-p and min-p keep, greedy ties,
// and the log-probability claimed for the drawn token.
#include <gtest/gtest.h>

#include "tensor/cpu/rows_ops.h"
#include "tensor/random.h"
#include "tests/reference/rows.h"
#include "tests/reference/rows_data.h"

namespace r1 {
namespace {

using namespace r1::testing;

struct Draws {
  std::vector<std::int32_t> ids;
  std::vector<double> logprobs;
};

// One draw for each of `options` from the same row of logits.
template <class T>
Draws draw(const std::vector<T>& row, const std::vector<SampleRow>& options,
           std::int64_t vocab = 0) {
  const auto V = static_cast<std::int64_t>(row.size());
  const auto B = static_cast<std::int64_t>(options.size());
  std::vector<T> logits;
  for (std::int64_t b = 0; b < B; ++b) logits.insert(logits.end(), row.begin(), row.end());
  Tensor ids = Tensor::empty({B}, DType::i32), logprobs = Tensor::empty({B}, DTypeOf<T>::value);
  cpu::sample(tensor(logits, {B, V}), options, vocab == 0 ? V : vocab, ids, logprobs);
  return {numbers<std::int32_t>(ids), logprobs.to_vector()};
}

std::vector<SampleRow> with_uniforms(SampleRow options, std::size_t count) {
  std::vector<SampleRow> all(count, options);
  const Random random(11, Purpose::test);
  for (std::size_t i = 0; i < count; ++i)
    all[i].uniform = random.uniform(static_cast<std::uint32_t>(i));
  return all;
}

// Pearson's statistic of the draws against p, columns of few expected draws taken together.
double chi_square(const std::vector<std::int32_t>& ids, const std::vector<double>& p,
                  double& freedom) {
  std::vector<double> count(p.size());
  for (std::int32_t id : ids) ++count[static_cast<std::size_t>(id)];
  double chi = 0, rest_want = 0, rest_count = 0;
  freedom = -1;
  const auto add = [&](double observed, double want) {
    chi += (observed - want) * (observed - want) / want;
    ++freedom;
  };
  for (std::size_t v = 0; v < p.size(); ++v) {
    const double want = p[v] * static_cast<double>(ids.size());
    if (want >= 10) {
      add(count[v], want);
    } else {
      rest_want += want;
      rest_count += count[v];
    }
  }
  if (rest_want > 0) add(rest_count, rest_want);
  else EXPECT_EQ(rest_count, 0) << "a token of probability 0 was drawn";
  return chi;
}

template <class T>
void check_distribution(std::size_t V, const SampleRow& options) {
  const auto row = random_numbers<T>(V, 3, -4, 2);
  const auto p = reference::truncated<double>({row.begin(), row.end()}, options.temperature,
                                              static_cast<std::size_t>(options.top_k),
                                              options.top_p, options.min_p);
  const bool plain = options.top_k == 0 && options.top_p == 1 && options.min_p == 0;
  const std::size_t draws = V > 1000 ? 1000 : plain ? 100000 : 20000;
  const Draws d = draw(row, with_uniforms(options, draws));
  double freedom = 0;
  const double chi = chi_square(d.ids, p, freedom);
  // Mean and deviation of the statistic; 5 deviations are never met by chance.
  EXPECT_LT(chi, freedom + 5 * std::sqrt(2 * freedom) + 5) << "V " << V;
  const auto log_p = reference::log_softmax<double>({row.begin(), row.end()}, options.temperature);
  for (std::size_t i = 0; i < 50; ++i)
    ASSERT_NEAR(d.logprobs[i], log_p[static_cast<std::size_t>(d.ids[i])],
                sizeof(T) == 4 ? 2e-6 : 1e-13);
}

TEST(Sample, DrawsFollowTheClaimedProbabilities) {
  for (const SampleRow& options :
       {SampleRow{}, SampleRow{.temperature = 0.6}, SampleRow{.temperature = 1.5, .top_k = 7},
        SampleRow{.top_p = 0.8}, SampleRow{.min_p = 0.1},
        SampleRow{.temperature = 0.9, .top_p = 0.9, .min_p = 0.02, .top_k = 30}}) {
    check_distribution<float>(61, options);
    check_distribution<double>(61, options);
    check_distribution<float>(9001, options);
  }
}

// A fine grid of uniforms must meet exactly the columns that a full sort keeps.
TEST(Sample, TruncationKeepsTheSetOfANaiveSort) {
  constexpr std::size_t kV = 90, kGrid = 1000;
  for (unsigned seed = 1; seed <= 96; ++seed) {
    const auto row = random_numbers<double>(kV, seed, -3, 3);
    const std::vector<double> top_ps = {1, 0.95, 0.005 * seed, 0.01 * seed},
                              min_ps = {0, 0.05, 0.4, 1};
    SampleRow o;
    o.temperature = 0.5 + 0.02 * seed;
    o.top_p = top_ps[seed % 4];
    o.min_p = min_ps[(seed / 2) % 4];
    o.top_k = std::vector<std::int64_t>{0, 1, 5, 100}[(seed / 3) % 4];
    std::vector<SampleRow> grid(kGrid, o);
    for (std::size_t i = 0; i < kGrid; ++i)
      grid[i].uniform = static_cast<double>(i) / static_cast<double>(kGrid);
    const auto p = reference::truncated<double>(
        row, o.temperature, static_cast<std::size_t>(o.top_k), o.top_p, o.min_p);
    std::vector<std::size_t> count(kV);
    for (std::int32_t id : draw(row, grid).ids) ++count[static_cast<std::size_t>(id)];
    for (std::size_t v = 0; v < kV; ++v)
      EXPECT_NEAR(static_cast<double>(count[v]) / kGrid, p[v], 1.01 / kGrid)
          << "seed " << seed << " column " << v;
  }
}

TEST(Sample, TiesAtTheBorders) {
  const std::vector<double> row = {1, 3, 2, 2, 3, 2};
  const auto drawn = [&](SampleRow o) {
    std::vector<SampleRow> grid(1000, o);
    for (std::size_t i = 0; i < 1000; ++i) grid[i].uniform = static_cast<double>(i) / 1000;
    std::vector<std::int32_t> ids = draw(row, grid).ids;
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    return ids;
  };
  using Ids = std::vector<std::int32_t>;
  EXPECT_EQ(drawn({.top_k = 1}), (Ids{1, 4}));  // all that tie with the k-th stay
  EXPECT_EQ(drawn({.top_k = 3}), (Ids{1, 2, 3, 4, 5}));
  EXPECT_EQ(drawn({.top_p = 0.01}), (Ids{1}));        // the smallest set: the lower index
  EXPECT_EQ(drawn({.top_p = 0.65}), (Ids{1, 2, 4}));  // p: 3 -> 0.308, 2 -> 0.113
  EXPECT_EQ(drawn({.min_p = 1}), (Ids{1, 4}));
  EXPECT_EQ(drawn({.top_p = 0.5, .top_k = 1}), (Ids{1}));  // one of the two is half: enough
  EXPECT_EQ(drawn({.top_p = 0}), (Ids{1}));                // never empty
}

// Above and below the sizes where the k-th largest is looked for among the maxima of pieces.
TEST(Sample, TopKOfAWideVocabulary) {
  const auto row = random_numbers<float>(9000, 21, -1, 1);
  for (std::int64_t k : {1, 2, 100, 140, 141, 142, 1000, 8999}) {
    std::vector<float> sorted = row;
    std::sort(sorted.begin(), sorted.end(), std::greater<float>());
    const float low = sorted[static_cast<std::size_t>(k - 1)];
    float least = 1;
    std::vector<bool> seen(row.size());
    for (std::int32_t id : draw(row, with_uniforms({.temperature = 5, .top_k = k}, 300)).ids) {
      least = std::min(least, row[static_cast<std::size_t>(id)]);
      seen[static_cast<std::size_t>(id)] = true;
    }
    EXPECT_GE(least, low) << k;
    if (k <= 2) {
      EXPECT_EQ(std::count(seen.begin(), seen.end(), true), k);
    }
  }
}

TEST(Sample, GreedyTakesTheFirstOfTheLargest) {
  for (std::size_t at : std::vector<std::size_t>{0, 5, 4095, 4096, 8999}) {
    auto row = random_numbers<float>(9000, 1);
    row[at] = 7;
    row[8999] = 7;
    const Draws d = draw(row, {{.temperature = 0, .top_k = 3, .uniform = 0.9}});
    EXPECT_EQ(d.ids[0], static_cast<std::int32_t>(at));
    const auto log_p = reference::log_softmax<double>({row.begin(), row.end()}, 1);
    EXPECT_NEAR(d.logprobs[0], log_p[at], 2e-6);
  }
}

TEST(Sample, TheNextIntervalBeginsWhereARunningSumEnds) {
  // Weights 1/4, 1/2, 1/4: the draw is the first column whose running sum exceeds the uniform.
  const std::vector<double> row = {0, std::log(2), 0};
  const auto at = [&](double u) { return draw(row, {{.uniform = u}}).ids[0]; };
  EXPECT_EQ(at(0), 0);
  EXPECT_EQ(at(0.2499), 0);
  EXPECT_EQ(at(0.2501), 1);
  EXPECT_EQ(at(0.7499), 1);
  EXPECT_EQ(at(0.7501), 2);
  EXPECT_EQ(at(std::nextafter(1.0, 0.0)), 2);
}

// Equal weights are exact: column i owns [i / V, (i + 1) / V), in every block of the vocabulary.
TEST(Sample, EqualWeightsShareTheUnitInterval) {
  for (std::size_t V : std::vector<std::size_t>{4, 4096, 16384}) {
    const std::vector<float> row(V, 2.5f);
    std::vector<SampleRow> options;
    std::vector<std::int32_t> want;
    for (std::size_t i = 0; i < V; i += std::max<std::size_t>(1, V / 64)) {
      for (double inside : {0.0, 0.5, 0.999}) {
        options.push_back({.uniform = (static_cast<double>(i) + inside) / static_cast<double>(V)});
        want.push_back(static_cast<std::int32_t>(i));
      }
    }
    EXPECT_EQ(draw(row, options).ids, want);
    for (SampleRow& o : options) o.min_p = 1;  // keeps all: the same draws by the other way
    EXPECT_EQ(draw(row, options).ids, want);
  }
}

TEST(Sample, TokensOfProbabilityZeroAreNeverDrawn) {
  const float inf = std::numeric_limits<float>::infinity();
  std::vector<float> row(10000, -inf);
  row[100] = 1;
  row[5000] = 1;
  for (double top_p : {1.0, 0.999999}) {
    const Draws d = draw(row, {{.top_p = top_p, .uniform = 0},
                               {.top_p = top_p, .uniform = 0.49},
                               {.top_p = top_p, .uniform = 0.51},
                               {.top_p = top_p, .uniform = std::nextafter(1.0, 0.0)}});
    EXPECT_EQ(d.ids, (std::vector<std::int32_t>{100, 100, 5000, 5000}));
    EXPECT_NEAR(d.logprobs[0], -std::log(2), 1e-6);
  }
  // Columns behind the vocabulary do not exist, however large.
  row[7000] = 50;
  EXPECT_EQ(draw(row, {{.uniform = 0.9}}, 6000).ids[0], 5000);
  EXPECT_NEAR(draw(row, {{.uniform = 0.9}}, 6000).logprobs[0], -std::log(2), 1e-6);
  EXPECT_EQ(draw(row, {{.temperature = 0}}, 6000).ids[0], 100);
}

TEST(Sample, DrawnAndScoredLogprobsHaveTheSameBits) {
  constexpr std::int64_t kB = 6, kV = 9001;
  const auto x = random_numbers<float>(kB * kV, 9, -10, 5);
  for (double temperature : {1.0, 0.6}) {
    std::vector<SampleRow> options = with_uniforms({.temperature = temperature}, kB);
    options[1].top_k = 5;
    options[2].top_p = 0.5;
    const Tensor logits = tensor(x, {kB, kV});
    Tensor ids = Tensor::empty({kB}, DType::i32), drawn = Tensor::empty({kB}, DType::f32);
    Tensor scored = Tensor::empty_like(drawn), lse, entropy = Tensor::empty_like(drawn);
    cpu::sample(logits, options, kV, ids, drawn);
    cpu::logprob_forward(logits, ids, temperature, scored, lse, entropy);
    EXPECT_TRUE(same_bits(numbers<float>(drawn), numbers<float>(scored)));
  }
}

TEST(Sample, RefusesWhatHasNoDistribution) {
  const float inf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (double temperature : {0.0, 1.0}) {
    for (std::size_t at : std::vector<std::size_t>{0, 17, 99}) {
      std::vector<float> row(100, 0);
      row[at] = nan;
      EXPECT_THROW(draw(row, {{.temperature = temperature}}), Error);
    }
    EXPECT_THROW(draw(std::vector<float>(100, -inf), {{.temperature = temperature}}), Error);
  }
  for (const SampleRow& wrong :
       {SampleRow{.temperature = -1}, SampleRow{.top_p = 1.1}, SampleRow{.min_p = -0.1},
        SampleRow{.top_k = -1}, SampleRow{.uniform = 1}})
    EXPECT_THROW(draw(std::vector<float>(10, 0), {wrong}), Error);
  EXPECT_THROW(draw(std::vector<float>(10, 0), {{}}, 11), Error);
}

}  // namespace
}  // namespace r1
