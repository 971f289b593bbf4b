// The row-wise members of the kernel table as callers see them: whole tensors, any number of
// threads, a row alone or in a batch, copies between dtypes, embedding rows, AdamW.
#include <gtest/gtest.h>

#include <functional>

#include "tensor/cpu/rows_ops.h"
#include "tests/reference/rows.h"
#include "tests/reference/rows_data.h"

namespace r1 {
namespace {

using namespace r1::testing;

constexpr std::int64_t kN = 70, kD = 515, kV = 600;  // odd, above one task's numbers

template <class T>
Tensor random_tensor(const Shape& shape, unsigned seed, double low = -2) {
  return tensor(random_numbers<T>(static_cast<std::size_t>(shape.numel()), seed, low, 2), shape);
}

std::vector<std::int32_t> random_ids(std::int64_t n, int below, unsigned seed) {
  std::mt19937 engine(seed);
  std::uniform_int_distribution<std::int32_t> uniform(0, below - 1);
  std::vector<std::int32_t> ids(static_cast<std::size_t>(n));
  for (auto& id : ids) id = uniform(engine);
  return ids;
}

// Everything below on the rows [begin, begin + n) of one problem; outputs that have one number or
// row per row, in a fixed order.
template <class T>
std::vector<Tensor> row_results(std::int64_t begin, std::int64_t n) {
  const auto rows = [&](const Tensor& t) { return t.narrow(begin, n); };
  const auto random = [&](unsigned seed) { return rows(random_tensor<T>({kN, kD}, seed)).clone(); };
  const Tensor x = random(1), dy = random(2), w = random_tensor<T>({kD}, 3);
  std::vector<Tensor> out;
  const auto add = [&](Tensor t) { return out.emplace_back(std::move(t)); };

  Tensor y = add(Tensor::empty_like(x)), rstd = add(Tensor::empty({n}, x.dtype()));
  cpu::rms_norm_forward(x, w, 1e-5, y, rstd);
  Tensor dx = add(random(4)), none;
  cpu::rms_norm_backward(dy, x, w, rstd, dx, none);
  Tensor biased = add(random(5));
  cpu::add_rows(w, biased);

  const Tensor positions = rows(tensor(random_ids(kN, 40, 6)));
  const Tensor heads = rows(random_tensor<T>({kN, 4 * 2 * 33}, 7));
  Tensor turned = add(Tensor::empty_like(heads));
  cpu::rope(heads, positions, random_tensor<T>({40, 33}, 8), random_tensor<T>({40, 33}, 9), 4,
            false, turned);

  Tensor gated = add(Tensor::empty_like(x)), dgate = add(Tensor::empty_like(x));
  Tensor dup = add(Tensor::empty_like(x));
  cpu::swiglu_forward(x, dy, gated);
  cpu::swiglu_backward(y, x, dy, dgate, dup);

  Tensor logits = add(rows(random_tensor<T>({kN, kV}, 10)).clone());
  const Tensor targets = rows(tensor(random_ids(kN, kV, 11)));
  Tensor logprob = add(Tensor::empty({n}, x.dtype())), lse = add(Tensor::empty_like(rstd));
  Tensor entropy = add(Tensor::empty_like(rstd));
  cpu::logprob_forward(logits, targets, 0.7, logprob, lse, entropy);
  std::vector<SampleRow> options;
  for (std::int64_t i = begin; i < begin + n; ++i)
    options.push_back({.temperature = 0.2 * static_cast<double>(i % 5),
                       .top_p = i % 3 ? 1.0 : 0.7,
                       .top_k = i % 4 ? 0 : 9,
                       .uniform = static_cast<double>(i) / kN});
  Tensor ids = add(Tensor::empty({n}, DType::i32)), drawn = add(Tensor::empty_like(rstd));
  cpu::sample(logits, options, kV, ids, drawn);
  cpu::logprob_backward(rstd, targets, lse, 0.7, logits);

  Tensor gathered = add(Tensor::empty({n, kD}, x.dtype()));
  cpu::gather_rows(random_tensor<T>({kV, kD}, 12), targets, gathered);
  return out;
}

// Those whose outputs belong to columns or to the whole.
template <class T>
std::vector<Tensor> column_results() {
  const Tensor x = random_tensor<T>({kN, kD}, 1), dy = random_tensor<T>({kN, kD}, 2);
  const Tensor w = random_tensor<T>({kD}, 3), rstd = random_tensor<T>({kN}, 4);
  Tensor none, dw = random_tensor<T>({kD}, 5), sums = random_tensor<T>({kD}, 6);
  cpu::rms_norm_backward(dy, x, w, rstd, none, dw);
  cpu::sum_rows(x, sums);
  Tensor table = random_tensor<T>({50, kD}, 7), total = Tensor::empty({1}, x.dtype());
  cpu::scatter_add_rows(dy, tensor(random_ids(kN, 50, 8)), table);
  cpu::sum(x, total);
  Tensor p = random_tensor<T>({kN, kD}, 9), m = random_tensor<T>({kN, kD}, 10);
  Tensor v = random_tensor<T>({kN, kD}, 11, 0);
  cpu::adamw({.lr = 0.1, .weight_decay = 0.1, .step = 2}, x, p, m, v);
  const Tensor squares = Tensor::full({1}, cpu::sum_of_squares(x), DType::f64);
  return {dw, sums, table, total, p, m, v, squares};
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.bytes() == b.bytes() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

class Threads : public ::testing::Test {
 protected:
  void TearDown() override { set_thread_count(before_); }
  int before_ = thread_count();
};

TEST_F(Threads, NumberOfThreadsChangesNoBit) {
  const auto check = [](auto&& results) {
    set_thread_count(1);
    const auto want = results();
    for (int threads : {2, 3, 4}) {
      set_thread_count(threads);
      const auto got = results();
      for (std::size_t i = 0; i < want.size(); ++i)
        EXPECT_TRUE(same_bits(got[i], want[i])) << "output " << i << ", " << threads << " threads";
    }
  };
  check([] { return row_results<float>(0, kN); });
  check([] { return row_results<double>(0, kN); });
  check([] { return column_results<float>(); });
  check([] { return column_results<double>(); });
}

template <class T>
void check_rows_alone() {
  const auto all = row_results<T>(0, kN);
  for (const auto& [begin, n] : std::vector<std::pair<std::int64_t, std::int64_t>>{
           {0, 1}, {1, 1}, {kN - 1, 1}, {13, 8}, {31, kN - 31}}) {
    const auto part = row_results<T>(begin, n);
    for (std::size_t i = 0; i < all.size(); ++i)
      EXPECT_TRUE(same_bits(part[i], all[i].narrow(begin, n)))
          << "output " << i << ", rows " << begin << " + " << n;
  }
}

TEST_F(Threads, RowsDoNotSeeTheirNeighbours) {
  check_rows_alone<float>();
  check_rows_alone<double>();
}

// The kernels themselves are tested level by level (elementwise_test, row_kernels_test); here, that
// each member of the table hands its operands to the right one.
TEST(Rows, ElementwiseMembers) {
  const auto row = [](std::vector<double> v) { return tensor(v); };
  const Tensor a = row({0.5, -2, 3}), b = row({4, 5, -6});
  Tensor y = Tensor::empty({3}, DType::f64);
  const auto expect = [&](const std::vector<double>& want) {
    for (std::size_t i = 0; i < 3; ++i) EXPECT_NEAR(y.data<double>()[i], want[i], 1e-15);
  };
  cpu::unary(Unary::square, a, y), expect({0.25, 4, 9});
  cpu::unary(Unary::negate, a, y), expect({-0.5, 2, -3});
  cpu::unary(Unary::exp, a, y), expect({std::exp(0.5), std::exp(-2), std::exp(3)});
  cpu::unary(Unary::log, row({1, 2, 3}), y), expect({0, std::log(2), std::log(3)});
  cpu::unary(Unary::log_sigmoid, row({0, 0, 0}), y);
  expect({-std::log(2), -std::log(2), -std::log(2)});
  cpu::binary(Binary::add, a, b, y), expect({4.5, 3, -3});
  cpu::binary(Binary::subtract, a, b, y), expect({-3.5, -7, 9});
  cpu::binary(Binary::multiply, a, b, y), expect({2, -10, -18});
  cpu::binary(Binary::divide, a, b, y), expect({0.125, -0.4, -0.5});
  cpu::binary(Binary::minimum, a, b, y), expect({0.5, -2, -6});
  cpu::binary(Binary::maximum, a, b, y), expect({4, 5, 3});
  cpu::affine(a, 2, 10, y), expect({11, 6, 16});
  cpu::clamp(a, -1, 1, y), expect({0.5, -1, 1});
  cpu::fill(y, 1), expect({1, 1, 1});
  cpu::axpy(-2, a, y), expect({0, 5, -5});
  cpu::clamp_backward(b, a, -1, 1, y), expect({4, 5, -5});
  cpu::add_rows(a, y), expect({4.5, 3, -2});
  cpu::copy(b, y), expect({4, 5, -6});
}

TEST(Rows, RowMembers) {
  const std::int64_t N = 3, D = 40;
  const auto random = [&](unsigned seed) { return random_tensor<double>({N, D}, seed); };
  const Tensor x = random(1), dy = random(2), w = random_tensor<double>({D}, 3);
  const auto row = [&](const Tensor& t, std::int64_t n) { return numbers<double>(t.narrow(n, 1)); };
  Tensor y = Tensor::empty_like(x), rstd = Tensor::empty({N}, DType::f64);
  Tensor dx = Tensor::zeros({N, D}, DType::f64), dw = Tensor::full({D}, 1, DType::f64);
  Tensor sums = Tensor::full({D}, 1, DType::f64);
  cpu::rms_norm_forward(x, w, 1e-2, y, rstd);
  cpu::rms_norm_backward(dy, x, w, rstd, dx, dw);
  cpu::sum_rows(x, sums);
  std::vector<double> want_dw(D, 1), want_sums(D, 1);
  for (std::int64_t n = 0; n < N; ++n) {
    const double r = reference::rstd(row(x, n), 1e-2);
    EXPECT_NEAR(rstd.data<double>()[n], r, 1e-14);
    expect_close(row(y, n), reference::rms_norm(row(x, n), numbers<double>(w), 1e-2), 16, 1, "y");
    expect_close(row(dx, n),
                 reference::rms_norm_gradient(row(dy, n), row(x, n), numbers<double>(w), 1e-2), 40,
                 1, "dx");
    for (std::size_t d = 0; d < static_cast<std::size_t>(D); ++d) {
      want_dw[d] += row(dy, n)[d] * row(x, n)[d] * r;
      want_sums[d] += row(x, n)[d];
    }
  }
  expect_close(numbers<double>(dw), want_dw, 8, 4, "dw");
  expect_close(numbers<double>(sums), want_sums, 8, 4, "sums");

  const Tensor cos = random_tensor<double>({7, 10}, 4), sin = random_tensor<double>({7, 10}, 5);
  const std::vector<std::int32_t> positions = {6, 0, 3};
  for (bool inverse : {false, true}) {
    cpu::rope(x, tensor(positions), cos, sin, 2, inverse, y);
    for (std::int64_t n = 0; n < N; ++n) {
      const std::int64_t p = positions[static_cast<std::size_t>(n)];
      expect_close(row(y, n), reference::rope(row(x, n), row(cos, p), row(sin, p), inverse), 8, 4,
                   "rope");
    }
  }

  Tensor dgate = Tensor::empty_like(x), dup = Tensor::empty_like(x);
  cpu::swiglu_forward(x, dy, y);
  cpu::swiglu_backward(dy, x, x, dgate, dup);
  const double g = x.data<double>()[0], s = reference::sigmoid(g), d = dy.data<double>()[0];
  EXPECT_NEAR(y.data<double>()[0], g * s * d, 1e-15);
  EXPECT_NEAR(dup.data<double>()[0], d * g * s, 1e-15);
  EXPECT_NEAR(dgate.data<double>()[0], d * g * (s + g * s * (1 - s)), 1e-15);

  Tensor rows = Tensor::empty({2, 10}, DType::f64);
  cpu::gather_rows(cos, tensor(std::vector<std::int32_t>{5, 1}), rows);
  EXPECT_EQ(row(rows, 0), row(cos, 5));
  EXPECT_EQ(row(rows, 1), row(cos, 1));
}

// Gradients of parameters summed over two micro-batches have the bits of one batch.
TEST(Rows, MicroBatchesAccumulateAsOneBatch) {
  const Tensor x = random_tensor<float>({kN, kD}, 1), dy = random_tensor<float>({kN, kD}, 2);
  const Tensor w = random_tensor<float>({kD}, 3), rstd = random_tensor<float>({kN}, 4);
  const Tensor ids = tensor(random_ids(kN, 5, 8));
  const auto run = [&](const std::vector<std::int64_t>& sizes) {
    Tensor none, dw = Tensor::zeros({kD}, DType::f32), sums = Tensor::zeros({kD}, DType::f32);
    Tensor table = Tensor::zeros({5, kD}, DType::f32);
    std::int64_t begin = 0;
    for (std::int64_t n : sizes) {
      cpu::rms_norm_backward(dy.narrow(begin, n), x.narrow(begin, n), w, rstd.narrow(begin, n),
                             none, dw);
      cpu::sum_rows(x.narrow(begin, n), sums);
      cpu::scatter_add_rows(dy.narrow(begin, n), ids.narrow(begin, n), table);
      begin += n;
    }
    return std::vector<Tensor>{dw, sums, table};
  };
  const auto one = run({kN}), many = run({1, 30, 9, kN - 40});
  for (std::size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(same_bits(one[i], many[i])) << i;
}

TEST(Rows, ScatterAddsInOrderAndTouchesOnlyItsRows) {
  const Tensor dy = tensor(std::vector<float>{1e8f, 1, -1e8f, 4, 5, 6}, {3, 2});
  Tensor table = Tensor::full({4, 2}, 7, DType::f32);
  cpu::scatter_add_rows(dy, tensor(std::vector<std::int32_t>{2, 2, 0}), table);
  const std::vector<float> want = {12, 13, 7, 7, (7 + 1e8f) + -1e8f, 12, 7, 7};
  EXPECT_EQ(numbers<float>(table), want);
}

TEST(Rows, SumsOfSeveralBlocks) {
  for (std::int64_t n : {1, 4095, 4096, 4097, 100000}) {
    const auto x = random_numbers<float>(static_cast<std::size_t>(n), 1);
    long double sum = 0, squares = 0;
    for (float v : x) {
      sum += v;
      squares += static_cast<long double>(v) * v;
    }
    Tensor y = Tensor::empty({1}, DType::f32);
    cpu::sum(tensor(x), y);
    expect_close(y.data<float>()[0], sum, 1.01, 0, "sum");
    expect_close(cpu::sum_of_squares(tensor(x)), squares, 64, 0, "sum of squares");
  }
  Tensor y = Tensor::empty({1}, DType::f32);
  cpu::sum(Tensor::empty({0}, DType::f32), y);
  EXPECT_EQ(y.item(), 0);
}

TEST(Rows, AllFinite) {
  for (DType type : {DType::f32, DType::f64, DType::bf16}) {
    Tensor x = Tensor::full({40000}, 3e38, type);
    EXPECT_TRUE(cpu::all_finite(x)) << name_of(type);
    for (double bad :
         {std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity(),
          std::numeric_limits<double>::quiet_NaN()}) {
      for (std::int64_t at : {0, 17, 39999}) {
        Tensor y = x.clone(), one = y.narrow(at, 1);
        cpu::fill(one, bad);
        EXPECT_FALSE(cpu::all_finite(y)) << name_of(type) << " " << bad << " at " << at;
      }
    }
  }
  EXPECT_TRUE(cpu::all_finite(tensor(std::vector<std::int32_t>{-1, 0x7f800000})));
}

TEST(Rows, CopyConvertsBetweenAllFloatTypes) {
  const std::vector<double> values = {0, -0.0, 1, -2.5, 3.14159, 1e-40, 1e30, -65504, 1.0 / 3};
  const DType types[] = {DType::f32, DType::f64, DType::bf16};
  for (DType from : types) {
    for (DType to : types) {
      Tensor x = Tensor::empty({9}, from), y = Tensor::empty({9}, to);
      cpu::copy(tensor(values), x);
      cpu::copy(x, y);
      for (int i = 0; i < 9; ++i) {
        double want = values[static_cast<std::size_t>(i)];
        for (DType t : {from, to}) {
          if (t == DType::f32) want = static_cast<float>(want);
          if (t == DType::bf16) want = static_cast<float>(bf16(static_cast<float>(want)));
        }
        EXPECT_EQ(y.narrow(i, 1).to_vector()[0], want) << name_of(from) << " " << name_of(to);
      }
    }
  }
  Tensor i = Tensor::empty({2}, DType::i32), f = Tensor::empty({2}, DType::f32);
  cpu::copy(tensor(std::vector<std::int32_t>{-7, 1 << 30}), i);
  EXPECT_EQ(numbers<std::int32_t>(i), (std::vector<std::int32_t>{-7, 1 << 30}));
  EXPECT_THROW(cpu::copy(i, f), Error);
  EXPECT_THROW(cpu::copy(f, i), Error);
}

TEST(Rows, DoubleToBf16RoundsOnce) {
  const auto rounded = [](double x) {
    Tensor y = Tensor::empty({1}, DType::bf16);
    cpu::copy(Tensor::full({1}, x, DType::f64), y);
    return y.to_vector()[0];
  };
  const double unit = 0x1p-7;                            // of bf16 at 1
  EXPECT_EQ(rounded(1 + unit / 2), 1);                   // a tie goes to even
  EXPECT_EQ(rounded(1 + unit / 2 + 0x1p-50), 1 + unit);  // in f32 this would become the tie
  EXPECT_EQ(rounded(1 + 1.5 * unit - 0x1p-50), 1 + unit);
  EXPECT_EQ(rounded(-(1 + unit / 2 + 0x1p-50)), -(1 + unit));
  EXPECT_EQ(rounded(-(1 + 1.5 * unit - 0x1p-50)), -(1 + unit));
  EXPECT_EQ(rounded(1e300), std::numeric_limits<double>::infinity());
  EXPECT_EQ(rounded(-1e300), -std::numeric_limits<double>::infinity());
  EXPECT_EQ(rounded(1e-300), 0);
  EXPECT_TRUE(std::isnan(rounded(std::numeric_limits<double>::quiet_NaN())));
}

TEST(Rows, AdamwTrajectoryInDouble) {
  const reference::Adamw<long double> adamw{0.03L, 0.9L, 0.99L, 1e-8L, 0.2L, 0.25L};
  Tensor p = random_tensor<double>({37}, 1), m = Tensor::zeros({37}, DType::f64);
  Tensor v = Tensor::zeros({37}, DType::f64);
  auto want_p = wide(numbers<double>(p));
  std::vector<long double> want_m(37), want_v(37);
  for (int t = 1; t <= 60; ++t) {
    const Tensor g = random_tensor<double>({37}, 100 + static_cast<unsigned>(t));
    cpu::adamw({.lr = 0.03,
                .beta1 = 0.9,
                .beta2 = 0.99,
                .eps = 1e-8,
                .weight_decay = 0.2,
                .grad_scale = 0.25,
                .step = t},
               g, p, m, v);
    for (std::size_t i = 0; i < 37; ++i) {
      adamw.step(t, static_cast<long double>(g.data<double>()[i]), want_p[i], want_m[i], want_v[i]);
      ASSERT_NEAR(p.data<double>()[i], static_cast<double>(want_p[i]), 1e-13) << t;
    }
  }
}

TEST(Rows, RefusesOtherTypes) {
  Tensor x = Tensor::empty({2, 3}, DType::bf16), i = Tensor::empty({2, 3}, DType::i32);
  EXPECT_THROW(cpu::affine(x, 1, 0, x), Error);
  EXPECT_THROW(cpu::sum_of_squares(i), Error);
  Tensor y = Tensor::empty({1, 3}, DType::f32);
  EXPECT_THROW(cpu::gather_rows(x, tensor(std::vector<std::int32_t>{1}), y), Error);
}

}  // namespace
}  // namespace r1
