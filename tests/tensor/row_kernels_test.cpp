// rms_norm, rope, sums and column sums of every instruction-set level against their formulae.
#include <gtest/gtest.h>

#include "tests/reference/rows.h"
#include "tests/reference/rows_data.h"

namespace r1 {
namespace {

using namespace r1::testing;
using cpu::RowIsa;

TEST(RowKernels, RmsNorm) {
  for_each_level([]<class T>(const RowIsa<T>& k, const std::string& level) {
    using R = Wide<T>;
    for (std::size_t n : kSizes) {
      const auto x = random_numbers<T>(n, 1), w = random_numbers<T>(n, 2, 0.5, 1.5);
      const auto dy = random_numbers<T>(n, 3);
      const auto D = static_cast<std::int64_t>(n);
      const double eps = 1e-3;
      std::vector<T> y(n), dx = random_numbers<T>(n, 4);
      const T rstd = k.rms_norm_forward(D, x.data(), w.data(), eps, y.data());
      const std::string where = level + " n " + std::to_string(n);
      expect_close(rstd, reference::rstd(wide(x), R(eps)), 8, 0, where + " rstd");
      expect_close(y, reference::rms_norm(wide(x), wide(w), R(eps)), 10, 0, where + " y");
      // The gradient is added to what is there.
      auto want = reference::rms_norm_gradient(wide(dy), wide(x), wide(w), R(eps));
      for (std::size_t i = 0; i < n; ++i) want[i] += static_cast<R>(dx[i]);
      k.rms_norm_backward(D, dy.data(), x.data(), w.data(), rstd, dx.data());
      expect_close(dx, want, 16, n == 1 ? 50 : 8, where + " dx");
    }
  });
}

TEST(RowKernels, Rope) {
  for_each_level([]<class T>(const RowIsa<T>& k, const std::string& level) {
    for (std::size_t half : std::vector<std::size_t>{1, 2, 3, 4, 6, 8, 16, 17, 32, 33, 64}) {
      for (std::size_t heads : std::vector<std::size_t>{1, 3}) {
        const auto x = random_numbers<T>(heads * 2 * half, 1);
        std::vector<T> cos, sin;
        for (T angle : random_numbers<T>(half, 2, -9, 9)) {
          cos.push_back(std::cos(angle));
          sin.push_back(std::sin(angle));
        }
        const auto H = static_cast<std::int64_t>(heads), h = static_cast<std::int64_t>(half);
        std::vector<T> y(x.size()), back = x;
        k.rope(H, h, x.data(), cos.data(), sin.data(), T(1), y.data());
        const std::string where = level + " half " + std::to_string(half);
        expect_close(y, reference::rope(wide(x), wide(cos), wide(sin), false), 3, 2, where);
        k.rope(H, h, back.data(), cos.data(), sin.data(), T(-1), back.data());  // in place
        expect_close(back, reference::rope(wide(x), wide(cos), wide(sin), true), 3, 2, where);
        k.rope(H, h, y.data(), cos.data(), sin.data(), T(-1), y.data());
        expect_close(y, wide(x), 8, 2, where + " there and back");
      }
    }
  });
}

TEST(RowKernels, SumsAreAccumulatedInDouble) {
  for_each_level([]<class T>(const RowIsa<T>& k, const std::string& level) {
    for (std::size_t n : kSizes) {
      const auto x = random_numbers<T>(n, 1);
      long double sum = 0, squares = 0;
      for (T v : x) {
        sum += static_cast<long double>(v);
        squares += static_cast<long double>(v) * static_cast<long double>(v);
      }
      const auto N = static_cast<std::int64_t>(n);
      const std::string where = level + " n " + std::to_string(n);
      expect_close(k.sum(N, x.data()), sum, 8, 2 * std::sqrt(static_cast<double>(n)), where);
      expect_close(k.sum_of_squares(N, x.data()), squares, 16, 0, where);
    }
  });
}

TEST(RowKernels, MaxFindsTheLargestEverywhere) {
  for_each_level([]<class T>(const RowIsa<T>& k, const std::string& level) {
    for (std::size_t n : kSizes) {
      for (std::size_t at = 0; at < n; at += 1 + n / 64) {
        auto x = random_numbers<T>(n, 1, -9, -3);
        x[at] = T(-2.5);
        EXPECT_EQ(k.max(static_cast<std::int64_t>(n), x.data()), T(-2.5)) << level << " " << at;
      }
    }
    const std::vector<T> lowest(33, -std::numeric_limits<T>::infinity());
    EXPECT_EQ(k.max(33, lowest.data()), lowest[0]) << level;
  });
}

// Each column is one chain: in two parts of the rows, or in other groups of columns, the bits are
// those of one call.
TEST(RowKernels, ColumnChains) {
  for_each_level([]<class T>(const RowIsa<T>& k, const std::string& level) {
    constexpr std::size_t kRows = 37;
    for (std::size_t cols : kSizes) {
      const auto x = random_numbers<T>(kRows * cols, 1), dy = random_numbers<T>(kRows * cols, 2);
      const auto rstd = random_numbers<T>(kRows, 3, 0.5, 2), y0 = random_numbers<T>(cols, 4);
      const auto D = static_cast<std::int64_t>(cols);
      std::vector<T> sum = y0, dw = y0;
      k.add_columns(kRows, D, D, x.data(), sum.data());
      k.norm_weight_gradient(kRows, D, D, dy.data(), x.data(), rstd.data(), dw.data());
      for (std::size_t c = 0; c < cols; ++c) {
        auto want_sum = static_cast<Wide<T>>(y0[c]), want_dw = want_sum;
        T chain = y0[c];
        for (std::size_t r = 0; r < kRows; ++r) {
          want_sum += static_cast<Wide<T>>(x[r * cols + c]);
          want_dw += static_cast<Wide<T>>(dy[r * cols + c]) *
                     static_cast<Wide<T>>(x[r * cols + c]) * static_cast<Wide<T>>(rstd[r]);
          chain += x[r * cols + c];
        }
        expect_close(sum[c], want_sum, 37, 20, level);
        expect_close(dw[c], want_dw, 37, 20, level);
        ASSERT_EQ(sum[c], chain) << level << " column " << c;
      }
      std::vector<T> sum2 = y0, dw2 = y0;
      const std::size_t rows1 = 11, offset = rows1 * cols;
      for (std::int64_t c = 0, width = 1; c < D; c += width, width = width * 2 + 1) {
        const std::int64_t n = std::min(width, D - c);
        k.add_columns(rows1, n, D, x.data() + c, sum2.data() + c);
        k.add_columns(kRows - rows1, n, D, x.data() + offset + c, sum2.data() + c);
        k.norm_weight_gradient(rows1, n, D, dy.data() + c, x.data() + c, rstd.data(),
                               dw2.data() + c);
        k.norm_weight_gradient(kRows - rows1, n, D, dy.data() + offset + c, x.data() + offset + c,
                               rstd.data() + rows1, dw2.data() + c);
      }
      EXPECT_TRUE(same_bits(sum, sum2)) << level << " cols " << cols;
      EXPECT_TRUE(same_bits(dw, dw2)) << level << " cols " << cols;
    }
  });
}

TEST(RowKernels, SumExp) {
  for_each_level([]<class T>(const RowIsa<T>& k, const std::string& level) {
    using R = Wide<T>;
    for (std::size_t n : kSizes) {
      const auto x = random_numbers<T>(n, 1, -12, 3);
      const T scale = T(1.25), shift = T(3.75);
      R e = 0, ed = 0;
      for (T v : x) {
        const R d = static_cast<R>(v) * R(1.25) - R(3.75);
        e += std::exp(d);
        ed += std::exp(d) * d;
      }
      const auto N = static_cast<std::int64_t>(n);
      const auto both = k.sum_exp(N, x.data(), scale, shift, true);
      const auto one = k.sum_exp(N, x.data(), scale, shift, false);
      EXPECT_EQ(both.e, one.e) << level;  // asking for the entropy changes no log-probability
      expect_close(static_cast<T>(both.e), e, 24, 0, level);
      expect_close(static_cast<T>(both.ed), ed, 48, 0, level);
    }
    // A logit of -infinity adds nothing to either sum.
    std::vector<T> x = random_numbers<T>(100, 2);
    const auto before = k.sum_exp(100, x.data(), T(1), T(2), true);
    x.resize(164, -std::numeric_limits<T>::infinity());
    const auto after = k.sum_exp(164, x.data(), T(1), T(2), true);
    expect_close(after.e, before.e, 1e9 * static_cast<double>(std::numeric_limits<T>::epsilon()), 0,
                 level);
    EXPECT_TRUE(std::isfinite(after.ed)) << level;
  });
}

}  // namespace
}  // namespace r1
