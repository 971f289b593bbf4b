// Elementwise kernels of every instruction-set level against their formulae, and the exactness
// rules: an element's bits depend neither on its place nor on the length of the array.
#include <gtest/gtest.h>

#include <functional>

#include "tensor/kernels.h"
#include "tests/reference/rows.h"
#include "tests/reference/rows_data.h"

namespace r1 {
namespace {

using namespace r1::testing;
using cpu::RowIsa;

// A kernel as a function of whole arrays; what it changes in place is both input and output.
template <class T>
struct Kernel {
  using R = Wide<T>;
  using In = std::vector<const T*>;
  using Out = std::vector<T*>;
  std::string name;
  std::size_t inputs, outputs;
  std::function<void(const RowIsa<T>&, std::int64_t, const In&, const Out&)> run;
  std::function<std::vector<R>(const std::vector<R>&)> want;  // one element
  double ulps, scale;                                         // the error allowed, see expect_close
  double low = -2, high = 2;
};

template <class T>
Kernel<T> unary(std::string name, Unary op, Wide<T> (*f)(Wide<T>), double ulps, double low,
                double high) {
  return {std::move(name),
          1,
          1,
          [op](const RowIsa<T>& k, std::int64_t n, const auto& in, const auto& out) {
            k.unary[static_cast<int>(op)](n, in[0], out[0]);
          },
          [f](const auto& x) { return std::vector{f(x[0])}; },
          ulps,
          0,
          low,
          high};
}

template <class T>
Kernel<T> binary(std::string name, Binary op, Wide<T> (*f)(Wide<T>, Wide<T>)) {
  return {std::move(name),
          2,
          1,
          [op](const RowIsa<T>& k, std::int64_t n, const auto& in, const auto& out) {
            k.binary[static_cast<int>(op)](n, in[0], in[1], out[0]);
          },
          [f](const auto& x) { return std::vector{f(x[0], x[1])}; },
          1,
          0};
}

const reference::Adamw<long double> kAdamw{0.01L, 0.9L, 0.95L, 1e-8L, 0.1L, 0.7L};
constexpr int kAdamwStep = 3;

template <class T>
cpu::AdamwScalars<T> adamw_scalars() {
  const auto& a = kAdamw;
  return {static_cast<T>(a.grad_scale),
          static_cast<T>(1 - a.lr * a.weight_decay),
          static_cast<T>(1 - a.beta1),
          static_cast<T>(a.beta2),
          static_cast<T>(1 - a.beta2),
          static_cast<T>(a.lr / (1 - std::pow(a.beta1, kAdamwStep))),
          static_cast<T>(1 / std::sqrt(1 - std::pow(a.beta2, kAdamwStep))),
          static_cast<T>(a.eps)};
}

template <class T>
std::vector<Kernel<T>> simple_kernels() {
  using R = Wide<T>;
  return {
      unary<T>(
          "exp", Unary::exp, [](R x) { return std::exp(x); }, 2.5, -80, 80),
      unary<T>(
          "log", Unary::log, [](R x) { return std::log(x); }, 2.5, 1e-6, 3),
      unary<T>("log_sigmoid", Unary::log_sigmoid, reference::log_sigmoid<R>, 6, -30, 30),
      unary<T>(
          "square", Unary::square, [](R x) { return x * x; }, 1, -2, 2),
      unary<T>(
          "negate", Unary::negate, [](R x) { return -x; }, 0, -2, 2),
      binary<T>("add", Binary::add, [](R a, R b) { return a + b; }),
      binary<T>("subtract", Binary::subtract, [](R a, R b) { return a - b; }),
      binary<T>("multiply", Binary::multiply, [](R a, R b) { return a * b; }),
      binary<T>("divide", Binary::divide, [](R a, R b) { return a / b; }),
      binary<T>("minimum", Binary::minimum, [](R a, R b) { return std::min(a, b); }),
      binary<T>("maximum", Binary::maximum, [](R a, R b) { return std::max(a, b); }),
      {"affine", 1, 1,
       [](const RowIsa<T>& k, std::int64_t n, const auto& in, const auto& out) {
         k.affine(n, in[0], T(1.25), T(-0.75), out[0]);
       },
       [](const auto& x) { return std::vector<R>{x[0] * R(1.25) - R(0.75)}; }, 2, 1},
      {"clamp", 1, 1,
       [](const RowIsa<T>& k, std::int64_t n, const auto& in, const auto& out) {
         k.clamp(n, in[0], T(-0.5), T(1), out[0]);
       },
       [](const auto& x) { return std::vector<R>{std::clamp(x[0], R(-0.5), R(1))}; }, 0, 0},
      {"clamp_backward", 3, 1,
       [](const RowIsa<T>& k, std::int64_t n, const auto& in, const auto& out) {
         std::copy(in[2], in[2] + n, out[0]);
         k.clamp_backward(n, in[0], in[1], T(-0.5), T(1), out[0]);
       },
       [](const auto& x) {
         return std::vector<R>{x[2] + (x[1] >= R(-0.5) && x[1] <= R(1) ? x[0] : R(0))};
       },
       1, 0},
      {"axpy", 2, 1,
       [](const RowIsa<T>& k, std::int64_t n, const auto& in, const auto& out) {
         std::copy(in[1], in[1] + n, out[0]);
         k.axpy(n, T(0.375), in[0], out[0]);
       },
       [](const auto& x) { return std::vector<R>{x[1] + R(0.375) * x[0]}; }, 2, 1},
      {"exp_scaled", 1, 1,
       [](const RowIsa<T>& k, std::int64_t n, const auto& in, const auto& out) {
         k.exp_scaled(n, in[0], T(1.25), T(2), T(-0.5), out[0]);
       },
       [](const auto& x) { return std::vector<R>{R(-0.5) * std::exp(x[0] * R(1.25) - 2)}; }, 24, 0,
       -8, 4},
  };
}

template <class T>
std::vector<Kernel<T>> kernels_under_test() {
  using R = Wide<T>;
  std::vector<Kernel<T>> all = simple_kernels<T>();
  all.push_back(
      {"swiglu_forward", 2, 1,
       [](const RowIsa<T>& k, std::int64_t n, const auto& in, const auto& out) {
         k.swiglu_forward(n, in[0], in[1], out[0]);
       },
       [](const auto& x) { return std::vector<R>{x[0] * reference::sigmoid(x[0]) * x[1]}; }, 8, 0,
       -9, 9});
  all.push_back({"swiglu_backward", 3, 2,
                 [](const RowIsa<T>& k, std::int64_t n, const auto& in, const auto& out) {
                   k.swiglu_backward(n, in[0], in[1], in[2], out[0], out[1]);
                 },
                 [](const auto& x) {
                   // The derivative of g / (1 + exp(-g)) by the quotient rule.
                   const R e = std::exp(-x[1]);
                   return std::vector<R>{x[0] * x[2] * (1 + e + x[1] * e) / ((1 + e) * (1 + e)),
                                         x[0] * x[1] / (1 + e)};
                 },
                 12, 4, -5, 5});
  all.push_back({"adamw", 4, 3,
                 [](const RowIsa<T>& k, std::int64_t n, const auto& in, const auto& out) {
                   for (std::size_t i = 0; i < 3; ++i) std::copy(in[i + 1], in[i + 1] + n, out[i]);
                   k.adamw(n, adamw_scalars<T>(), in[0], out[0], out[1], out[2]);
                 },
                 [](const auto& x) {
                   long double p = x[1], m = x[2], v = x[3];
                   kAdamw.step(kAdamwStep, x[0], p, m, v);
                   return std::vector<R>{R(p), R(m), R(v)};
                 },
                 8, 1, 0.01, 2});
  return all;
}

template <class T>
std::vector<std::vector<T>> run(const Kernel<T>& kernel, const RowIsa<T>& table,
                                const std::vector<std::vector<T>>& in, std::size_t begin,
                                std::size_t n) {
  std::vector<std::vector<T>> out(kernel.outputs, std::vector<T>(n + 1, T(77)));
  typename Kernel<T>::In from;
  typename Kernel<T>::Out to;
  for (const auto& x : in) from.push_back(x.data() + begin);
  for (auto& y : out) to.push_back(y.data());
  kernel.run(table, static_cast<std::int64_t>(n), from, to);
  for (auto& y : out) {
    EXPECT_EQ(y.back(), T(77)) << kernel.name << " wrote behind its end";
    y.pop_back();
  }
  return out;
}

template <class T>
std::vector<std::vector<T>> inputs_of(const Kernel<T>& k, std::size_t n) {
  std::vector<std::vector<T>> in;
  for (unsigned i = 0; i < k.inputs; ++i) in.push_back(random_numbers<T>(n, i + 1, k.low, k.high));
  return in;
}

TEST(Elementwise, EveryLevelFollowsTheFormulae) {
  for_each_level([]<class T>(const RowIsa<T>& table, const std::string& level) {
    for (const Kernel<T>& kernel : kernels_under_test<T>()) {
      for (std::size_t n : kSizes) {
        const auto in = inputs_of(kernel, n);
        const auto out = run(kernel, table, in, 0, n);
        for (std::size_t i = 0; i < n; ++i) {
          std::vector<Wide<T>> x;
          for (const auto& v : in) x.push_back(v[i]);
          const auto want = kernel.want(x);
          for (std::size_t o = 0; o < want.size(); ++o)
            expect_close(out[o][i], want[o], kernel.ulps, kernel.scale,
                         level + " " + kernel.name + "[" + std::to_string(i) + "]");
        }
      }
    }
  });
}

TEST(Elementwise, BitsDoNotDependOnPlaceOrLength) {
  for_each_level([]<class T>(const RowIsa<T>& table, const std::string& level) {
    constexpr std::size_t kN = 200;
    for (const Kernel<T>& kernel : kernels_under_test<T>()) {
      const auto in = inputs_of(kernel, kN);
      const auto whole = run(kernel, table, in, 0, kN);
      for (std::size_t begin = 0; begin < 20; ++begin) {
        for (std::size_t n = 1; begin + n <= kN; n += 1 + n / 7) {
          const auto part = run(kernel, table, in, begin, n);
          for (std::size_t o = 0; o < part.size(); ++o) {
            const auto from = whole[o].begin() + static_cast<std::ptrdiff_t>(begin);
            const std::vector<T> same(from, from + static_cast<std::ptrdiff_t>(n));
            ASSERT_TRUE(same_bits(part[o], same))
                << level << " " << kernel.name << " begin " << begin << " n " << n;
          }
        }
      }
    }
  });
}

template <class T>
T unary_of(const RowIsa<T>& k, Unary op, T x) {
  T y = 0;
  k.unary[static_cast<int>(op)](1, &x, &y);
  return y;
}

TEST(Elementwise, SpecialValues) {
  for_each_level([]<class T>(const RowIsa<T>& k, const std::string& level) {
    SCOPED_TRACE(level);
    using L = std::numeric_limits<T>;
    const T inf = L::infinity(), nan = L::quiet_NaN();
    const auto exp = [&](T x) { return unary_of(k, Unary::exp, x); };
    EXPECT_EQ(exp(0), T(1));
    EXPECT_EQ(exp(-inf), T(0));
    EXPECT_EQ(exp(inf), inf);
    EXPECT_TRUE(std::isnan(exp(nan)));
    EXPECT_EQ(exp(T(1000)), inf);
    EXPECT_EQ(exp(T(-1000)), T(0));
    // The largest argument that does not overflow, and results below the normal range.
    EXPECT_FALSE(std::isinf(exp(std::log(L::max()) * (1 - L::epsilon()))));
    const T small = std::log(L::min()) - T(5);
    EXPECT_NEAR(static_cast<double>(exp(small) / std::exp(small)), 1,
                4 * static_cast<double>(L::denorm_min() / std::exp(small)));
    const auto log = [&](T x) { return unary_of(k, Unary::log, x); };
    EXPECT_EQ(log(0), -inf);
    EXPECT_EQ(log(T(-0.0)), -inf);
    EXPECT_EQ(log(1), T(0));
    EXPECT_EQ(log(inf), inf);
    EXPECT_TRUE(std::isnan(log(-1)));
    EXPECT_TRUE(std::isnan(log(-inf)));
    EXPECT_TRUE(std::isnan(log(nan)));
    EXPECT_NEAR(static_cast<double>(log(L::denorm_min()) / std::log(L::denorm_min())), 1, 1e-6);
    const auto log_sigmoid = [&](T x) { return unary_of(k, Unary::log_sigmoid, x); };
    EXPECT_EQ(log_sigmoid(-inf), -inf);
    EXPECT_EQ(log_sigmoid(inf), T(0));
    EXPECT_TRUE(std::isnan(log_sigmoid(nan)));
    EXPECT_EQ(log_sigmoid(T(-1000)), T(-1000));
    EXPECT_LT(log_sigmoid(T(16)), T(0));  // -1.1e-7: log(1 + x) near 0 keeps its digits

    const T a[] = {nan, T(1), nan, T(-0.5)}, b[] = {T(1), nan, nan, T(2)};
    T y[4];
    for (Binary op : {Binary::minimum, Binary::maximum}) {
      k.binary[static_cast<int>(op)](4, a, b, y);
      for (int i = 0; i < 3; ++i) EXPECT_TRUE(std::isnan(y[i])) << i;
    }
    k.clamp(4, a, T(0), T(3), y);
    EXPECT_TRUE(std::isnan(y[0]));
    EXPECT_EQ(y[3], T(0));
    const T ones[] = {T(1), T(1), T(1), T(1)}, x[] = {nan, T(0), T(3), T(3.5)};
    T dx[] = {T(0), T(0), T(0), T(0)};
    k.clamp_backward(4, ones, x, T(0), T(3), dx);  // the borders belong to the inside
    EXPECT_EQ(std::vector<T>(dx, dx + 4), (std::vector<T>{T(0), T(1), T(1), T(0)}));
  });
}

TEST(Elementwise, OutputMayBeAnInput) {
  for_each_level([]<class T>(const RowIsa<T>& k, const std::string& level) {
    const auto a = random_numbers<T>(77, 1), b = random_numbers<T>(77, 2);
    std::vector<T> apart(77), in_a = a, in_b = b;
    k.swiglu_forward(77, a.data(), b.data(), apart.data());
    k.swiglu_forward(77, in_a.data(), b.data(), in_a.data());
    k.swiglu_forward(77, a.data(), in_b.data(), in_b.data());
    EXPECT_TRUE(same_bits(apart, in_a)) << level;
    EXPECT_TRUE(same_bits(apart, in_b)) << level;
  });
}

}  // namespace
}  // namespace r1
