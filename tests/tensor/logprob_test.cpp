// logprob_forward and logprob_backward against log_softmax written out, in f64 and f32.
#include <gtest/gtest.h>

#include "tensor/cpu/rows_ops.h"
#include "tests/reference/rows.h"
#include "tests/reference/rows_data.h"

namespace r1 {
namespace {

using namespace r1::testing;

struct Result {
  Tensor logprob, lse, entropy;
};

Result forward(const Tensor& logits, const Tensor& targets, double temperature) {
  const Shape n{logits.rows()};
  Result r{Tensor::empty(n, logits.dtype()), Tensor::empty(n, logits.dtype()),
           Tensor::empty(n, logits.dtype())};
  cpu::logprob_forward(logits, targets, temperature, r.logprob, r.lse, r.entropy);
  return r;
}

// Logits like those of a language model: a few large ones over a wide floor.
template <class T>
std::vector<T> peaked_logits(std::size_t n, unsigned seed) {
  std::mt19937_64 engine(seed);
  std::normal_distribution<double> normal(-5, 3);
  std::vector<T> x(n);
  for (T& v : x) v = static_cast<T>(normal(engine));
  for (std::size_t i = 0; i < n; i += 997) x[i] += T(14);
  return x;
}

template <class T>
void check_forward(std::int64_t V, double temperature, double tolerance) {
  constexpr std::int64_t kN = 3;
  const auto x = peaked_logits<T>(static_cast<std::size_t>(kN * V), 5);
  const std::vector<std::int32_t> targets = {0, static_cast<std::int32_t>(V / 2),
                                             static_cast<std::int32_t>(V - 1)};
  const Result r = forward(tensor(x, {kN, V}), tensor(targets), temperature);
  for (std::int64_t n = 0; n < kN; ++n) {
    const auto i = static_cast<std::size_t>(n);
    const std::vector<long double> row(x.begin() + n * V, x.begin() + (n + 1) * V);
    const auto log_p = reference::log_softmax<long double>(row, temperature);
    const auto target = static_cast<std::size_t>(targets[i]);
    const long double lse = row[target] / static_cast<long double>(temperature) - log_p[target];
    const std::string where = "V " + std::to_string(V) + " row " + std::to_string(n);
    // The results themselves are stored in T: one rounding of theirs on top of the tolerance.
    const auto near = [&](const Tensor& got, long double want) {
      const double unit = std::numeric_limits<T>::epsilon() * std::abs(static_cast<double>(want));
      EXPECT_NEAR(static_cast<double>(got.data<T>()[n]), static_cast<double>(want),
                  tolerance + unit / 2)
          << where;
    };
    near(r.logprob, log_p[target]);
    near(r.lse, lse);
    near(r.entropy, reference::entropy(log_p));
  }
}

TEST(Logprob, ForwardFollowsTheFormula) {
  for (std::int64_t V : {1, 2, 15, 16, 17, 100, 4095, 4096, 4097, 49152}) {
    for (double temperature : {1.0, 0.6, 1.7}) {
      check_forward<double>(V, temperature, 2e-14);
      check_forward<float>(V, temperature, temperature == 1 ? 1e-6 : 2e-6);
    }
  }
}

TEST(Logprob, BackwardIsTheDerivative) {
  constexpr std::int64_t kN = 3;
  for (std::int64_t V : {1, 7, 16, 33, 1000, 5000}) {
    const auto x = random_numbers<double>(static_cast<std::size_t>(kN * V), 1, -4, 4);
    const std::vector<std::int32_t> targets = {static_cast<std::int32_t>(V - 1), 0,
                                               static_cast<std::int32_t>(V / 2)};
    const std::vector<double> g = {0.5, -2, 0};
    const double temperature = 0.8;
    Tensor grad = tensor(x, {kN, V});
    const Result r = forward(grad, tensor(targets), temperature);
    Tensor grad32 = grad.cast(DType::f32);
    const Result r32 = forward(grad32, tensor(targets), temperature);
    cpu::logprob_backward(tensor(g), tensor(targets), r.lse, temperature, grad);
    cpu::logprob_backward(tensor(g).cast(DType::f32), tensor(targets), r32.lse, temperature,
                          grad32);
    for (std::int64_t n = 0; n < kN; ++n) {
      const auto row = static_cast<std::size_t>(n);
      const auto log_p =
          reference::log_softmax<double>({x.begin() + n * V, x.begin() + (n + 1) * V}, temperature);
      for (std::int64_t v = 0; v < V; ++v) {
        const double onehot = targets[row] == v ? 1 : 0;
        const double want =
            g[row] * (onehot - std::exp(log_p[static_cast<std::size_t>(v)])) / temperature;
        EXPECT_NEAR(grad.data<double>()[n * V + v], want, 1e-14);
        EXPECT_NEAR(static_cast<double>(grad32.data<float>()[n * V + v]), want, 2e-6);
      }
    }
  }
}

TEST(Logprob, BackwardMatchesFiniteDifferences) {
  constexpr std::int64_t kV = 19;
  const std::vector<std::int32_t> target = {4};
  const auto x = random_numbers<double>(kV, 3);
  Tensor grad = tensor(x, {1, kV});
  const Result r = forward(grad, tensor(target), 0.7);
  cpu::logprob_backward(tensor(std::vector<double>{1}), tensor(target), r.lse, 0.7, grad);
  for (std::size_t v = 0; v < kV; ++v) {
    auto up = x, down = x;
    up[v] += 1e-5;
    down[v] -= 1e-5;
    const double slope = (forward(tensor(up, {1, kV}), tensor(target), 0.7).logprob.item() -
                          forward(tensor(down, {1, kV}), tensor(target), 0.7).logprob.item()) /
                         2e-5;
    EXPECT_NEAR(grad.data<double>()[v], slope, 1e-9);
  }
}

TEST(Logprob, SpecialLogits) {
  const float inf = std::numeric_limits<float>::infinity();
  // Forbidden tokens (-infinity) have probability 0; huge logits do not overflow.
  std::vector<float> x(40, -inf);
  x[3] = 1e30f;
  x[20] = 1e30f;
  const Result r = forward(tensor(x, {1, 40}), tensor(std::vector<std::int32_t>{20}), 1);
  EXPECT_NEAR(r.logprob.item(), -std::log(2), 1e-6);
  EXPECT_NEAR(r.entropy.item(), std::log(2), 1e-6);
  std::vector<float> bad(40, 0);
  bad[37] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(
      forward(tensor(bad, {1, 40}), tensor(std::vector<std::int32_t>{20}), 1).logprob.item()));
}

TEST(Logprob, UndefinedOutputsAreSkippedAndChangeNothing) {
  const Tensor logits = tensor(peaked_logits<float>(2 * 5000, 1), {2, 5000});
  const Tensor targets = tensor(std::vector<std::int32_t>{7, 4999});
  const Result r = forward(logits, targets, 0.9);
  Tensor logprob = Tensor::empty({2}, DType::f32), none, none2;
  cpu::logprob_forward(logits, targets, 0.9, logprob, none, none2);
  EXPECT_TRUE(same_bits(numbers<float>(logprob), numbers<float>(r.logprob)));
}

}  // namespace
}  // namespace r1
