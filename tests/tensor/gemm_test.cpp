// Matrix products: every element must have the bits of one scalar chain over k, whatever the
// sizes, transposes, threads, packing and instruction set; and the sum must be right (Eigen, f64).
#include <gtest/gtest.h>

#include <Eigen/Core>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "tensor/cpu/gemm_eigen.h"
#include "tensor/cpu/levels.h"
#include "tensor/kernels.h"
#include "tensor/parallel.h"
#include "tensor/random.h"

namespace r1 {
namespace {

using std::int64_t;

const Transpose kBoth[] = {Transpose::no, Transpose::yes};

template <class T>
std::vector<T> numbers(int64_t n, std::uint32_t stream) {
  const Random random(7, Purpose::test);
  std::vector<T> v(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < v.size(); ++i)
    v[i] = static_cast<T>(random.uniform(static_cast<std::uint32_t>(i), stream) * 2 - 1);
  return v;
}

template <class T>
Tensor tensor(int64_t rows, int64_t columns, std::uint32_t stream) {
  const std::vector<T> v = numbers<T>(rows * columns, stream);
  return Tensor::from(std::span<const T>(v), {rows, columns});
}

template <class T>
bool same_bits(const T* a, const T* b, int64_t n) {
  return n == 0 || std::memcmp(a, b, static_cast<std::size_t>(n) * sizeof(T)) == 0;
}
template <class T>
bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && same_bits(a.data<T>(), b.data<T>(), a.numel());
}

// Not even the baseline may skip a step of the chain, but it has no fused multiply-add.
template <class T>
T chain_step(T a, T b, T sum, bool fused) {
  if (fused) return std::fma(a, b, sum);
  volatile T product = a * b;  // rounded before the addition, whatever this file is compiled for
  return product + sum;
}
bool is_fused(const std::string& level) { return level != "baseline"; }

// op(A) op(B) with element (i, k) of op(A) at a[i * ai + k * ak], of op(B) at b[k * bk + j * bj].
template <class T>
void chains(int64_t m, int64_t n, int64_t depth, const T* a, int64_t ai, int64_t ak, const T* b,
            int64_t bk, int64_t bj, T* c, bool accumulate, bool fused) {
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      T sum = accumulate ? c[i * n + j] : T(0);
      for (int64_t k = 0; k < depth; ++k)
        sum = chain_step(a[i * ai + k * ak], b[k * bk + j * bj], sum, fused);
      c[i * n + j] = sum;
    }
}

template <class T>
Tensor chains(const Tensor& a, Transpose ta, const Tensor& b, Transpose tb, const Tensor& start,
              bool accumulate) {
  Tensor c = start.clone();
  const bool at = ta == Transpose::yes, bt = tb == Transpose::yes;
  chains<T>(c.rows(), c.cols(), bt ? b.cols() : b.rows(), a.data<T>(), at ? 1 : a.cols(),
            at ? a.cols() : 1, b.data<T>(), bt ? 1 : b.cols(), bt ? b.cols() : 1, c.data<T>(),
            accumulate, is_fused(cpu::isa().name));
  return c;
}

struct Sizes {
  int64_t m, n, k;
};

// Around every border: of vectors, panels, tiles, blocks of rows and of k.
std::vector<Sizes> border_sizes() {
  std::vector<Sizes> all = {{1, 1, 1},       {2, 3, 5},      {13, 31, 7},   {14, 32, 16},
                            {15, 33, 17},    {6, 16, 8},     {7, 17, 9},    {29, 65, 129},
                            {1, 129, 2100},  {3, 160, 300},  {5, 100, 513}, {113, 47, 255},
                            {57, 515, 33},   {225, 129, 66}, {8, 576, 64},  {40, 170, 1500},
                            {27, 200, 1100}, {515, 34, 20}};
  const Random random(3, Purpose::test);
  for (std::uint32_t i = 0; i < 8; ++i)
    all.push_back(
        {1 + random.below(70, i, 0), 1 + random.below(150, i, 1), 1 + random.below(600, i, 2)});
  return all;
}

template <class T>
class Gemm : public testing::Test {
 protected:
  void TearDown() override { set_thread_count(threads_); }
  const Kernels& kernels_ = kernels();

 private:
  int threads_ = thread_count();
};
using FloatTypes = testing::Types<float, double>;
TYPED_TEST_SUITE(Gemm, FloatTypes);

TYPED_TEST(Gemm, EveryElementIsOneChain) {
  using T = TypeParam;
  for (const Sizes& s : border_sizes())
    for (const Transpose ta : kBoth)
      for (const Transpose tb : kBoth)
        for (const bool accumulate : {false, true}) {
          const bool at = ta == Transpose::yes, bt = tb == Transpose::yes;
          const Tensor a = tensor<T>(at ? s.k : s.m, at ? s.m : s.k, 1);
          const Tensor b = tensor<T>(bt ? s.n : s.k, bt ? s.k : s.n, 2);
          Tensor c = tensor<T>(s.m, s.n, 3);
          const Tensor want = chains<T>(a, ta, b, tb, c, accumulate);
          this->kernels_.matmul(a, ta, b, tb, c, accumulate);
          ASSERT_TRUE(same_bits<T>(c, want)) << s.m << " x " << s.n << " x " << s.k << " A " << at
                                             << " B " << bt << " accumulate " << accumulate;
        }
}

TYPED_TEST(Gemm, PackedHasTheSameBits) {
  using T = TypeParam;
  for (const Sizes& s : border_sizes())
    for (const Transpose tb : kBoth)
      for (const bool accumulate : {false, true}) {
        const bool bt = tb == Transpose::yes;
        const Tensor a = tensor<T>(s.m, s.k, 1);
        const Tensor b = tensor<T>(bt ? s.n : s.k, bt ? s.k : s.n, 2);
        Tensor c = tensor<T>(s.m, s.n, 3);
        Tensor want = c.clone();
        this->kernels_.matmul(a, Transpose::no, b, tb, want, accumulate);
        this->kernels_.matmul_packed(a, this->kernels_.pack(b, tb), s.n, c, accumulate);
        ASSERT_TRUE(same_bits<T>(c, want))
            << s.m << " x " << s.n << " x " << s.k << " B " << bt << " accumulate " << accumulate;
      }
}

TYPED_TEST(Gemm, RowsDoNotDependOnTheirNeighbours) {
  using T = TypeParam;
  const int64_t m = 61, n = 175, k = 611;
  const Tensor a = tensor<T>(m, k, 1), b = tensor<T>(n, k, 2);
  const Tensor packed = this->kernels_.pack(b, Transpose::yes);
  Tensor all = Tensor::empty({m, n}, a.dtype());
  this->kernels_.matmul_packed(a, packed, n, all, false);
  for (const int64_t rows : {int64_t{1}, int64_t{2}, int64_t{3}, int64_t{4}, int64_t{7}, int64_t{8},
                             int64_t{13}, int64_t{14}, int64_t{20}})
    for (int64_t begin = 0; begin + rows <= m; begin += rows) {
      Tensor some = Tensor::empty({rows, n}, a.dtype());
      this->kernels_.matmul_packed(a.narrow(begin, rows), packed, n, some, false);
      ASSERT_TRUE(same_bits<T>(some, all.narrow(begin, rows))) << rows << " rows from " << begin;
    }
}

TYPED_TEST(Gemm, ThreadsDoNotChangeBits) {
  using T = TypeParam;
  for (const Sizes& s : {Sizes{1, 1601, 700}, Sizes{9, 1536, 577}, Sizes{300, 290, 300},
                         Sizes{1100, 130, 65}, Sizes{70, 700, 2100}})
    for (const Transpose ta : kBoth)
      for (const Transpose tb : kBoth) {
        const bool at = ta == Transpose::yes, bt = tb == Transpose::yes;
        const Tensor a = tensor<T>(at ? s.k : s.m, at ? s.m : s.k, 1);
        const Tensor b = tensor<T>(bt ? s.n : s.k, bt ? s.k : s.n, 2);
        Tensor alone;
        for (const int threads : {1, 2, 3, 4}) {
          set_thread_count(threads);
          Tensor c = tensor<T>(s.m, s.n, 3);
          this->kernels_.matmul(a, ta, b, tb, c, true);
          if (threads == 1) alone = c;
          ASSERT_TRUE(same_bits<T>(c, alone)) << threads << " threads " << s.m << " x " << s.n;
          if (at) continue;
          Tensor p = tensor<T>(s.m, s.n, 3);
          this->kernels_.matmul_packed(a, this->kernels_.pack(b, tb), s.n, p, true);
          ASSERT_TRUE(same_bits<T>(p, alone)) << threads << " threads, packed " << s.m;
        }
      }
}

// k cut over calls that accumulate, as over the micro-batches of a gradient.
TYPED_TEST(Gemm, CutsOfKDoNotChangeBits) {
  using T = TypeParam;
  const int64_t m = 37, n = 70, k = 601;
  const Tensor a = tensor<T>(k, m, 1), b = tensor<T>(k, n, 2);
  Tensor whole = Tensor::zeros({m, n}, a.dtype());
  this->kernels_.matmul(a, Transpose::yes, b, Transpose::no, whole, true);
  for (const int64_t step : {int64_t{1}, int64_t{7}, int64_t{64}, int64_t{257}, int64_t{600}}) {
    Tensor c = Tensor::zeros({m, n}, a.dtype());
    for (int64_t k0 = 0; k0 < k; k0 += step) {
      const int64_t depth = std::min(step, k - k0);
      this->kernels_.matmul(a.narrow(k0, depth), Transpose::yes, b.narrow(k0, depth), Transpose::no,
                            c, true);
    }
    ASSERT_TRUE(same_bits<T>(c, whole)) << "steps of " << step;
  }
}

// More of B than is packed at a time: k and columns are cut inside one call.
TYPED_TEST(Gemm, LargeUnpackedOperandIsCutExactly) {
  using T = TypeParam;
  const int64_t m = 3, n = 1500, k = 4100;
  const Tensor a = tensor<T>(m, k, 1), b = tensor<T>(n, k, 2);
  Tensor c = Tensor::empty({m, n}, a.dtype()), p = Tensor::empty({m, n}, a.dtype());
  this->kernels_.matmul(a, Transpose::no, b, Transpose::yes, c, false);
  this->kernels_.matmul_packed(a, this->kernels_.pack(b, Transpose::yes), n, p, false);
  EXPECT_TRUE(same_bits<T>(c, p));
  EXPECT_TRUE(same_bits<T>(c, chains<T>(a, Transpose::no, b, Transpose::yes, c, false)));
}

TYPED_TEST(Gemm, ZeroSizes) {
  using T = TypeParam;
  for (const Transpose ta : kBoth)
    for (const Transpose tb : kBoth)
      for (const Sizes& s : {Sizes{0, 5, 7}, Sizes{5, 0, 7}, Sizes{5, 40, 0}, Sizes{0, 0, 0}}) {
        const bool at = ta == Transpose::yes, bt = tb == Transpose::yes;
        const Tensor a = tensor<T>(at ? s.k : s.m, at ? s.m : s.k, 1);
        const Tensor b = tensor<T>(bt ? s.n : s.k, bt ? s.k : s.n, 2);
        const Tensor start = tensor<T>(s.m, s.n, 3);
        Tensor kept = start.clone(), cleared = start.clone();
        this->kernels_.matmul(a, ta, b, tb, kept, true);
        this->kernels_.matmul(a, ta, b, tb, cleared, false);
        EXPECT_TRUE(same_bits<T>(kept, start));
        EXPECT_TRUE(same_bits<T>(cleared, Tensor::zeros({s.m, s.n}, start.dtype())));
        if (at) continue;
        const Tensor packed = this->kernels_.pack(b, tb);
        Tensor kept_packed = start.clone(), cleared_packed = start.clone();
        this->kernels_.matmul_packed(a, packed, s.n, kept_packed, true);
        this->kernels_.matmul_packed(a, packed, s.n, cleared_packed, false);
        EXPECT_TRUE(same_bits<T>(kept_packed, start));
        EXPECT_TRUE(same_bits<T>(cleared_packed, cleared));
      }
}

// NaN and infinity of one row or column stay there: padding must not spread them.
TYPED_TEST(Gemm, NotANumberStaysInItsRow) {
  using T = TypeParam;
  const int64_t m = 15, n = 35, k = 20;
  Tensor a = tensor<T>(m, k, 1), b = tensor<T>(n, k, 2);
  a.data<T>()[4 * k + 3] = std::numeric_limits<T>::quiet_NaN();
  b.data<T>()[34 * k + 1] = std::numeric_limits<T>::infinity();
  Tensor c = Tensor::empty({m, n}, a.dtype());
  this->kernels_.matmul(a, Transpose::no, b, Transpose::yes, c, false);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      const T x = c.data<T>()[i * n + j];
      if (i == 4) EXPECT_TRUE(std::isnan(x));
      else EXPECT_EQ(std::isinf(x), j == 34) << i << ", " << j;
    }
}

// |error| <= K eps / (1 - K eps) * |A| |B| for a chain of K roundings (Higham, "Accuracy and
// stability of numerical algorithms", 2002, section 3.1), against f64 by Eigen.
TYPED_TEST(Gemm, WithinTheRoundingBoundOfEigen) {
  using T = TypeParam;
  using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const auto matrix = [](const Tensor& t) -> Matrix {
    return Eigen::Map<const Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>(
               t.data<T>(), t.rows(), t.cols())
        .template cast<double>();
  };
  for (const Sizes& s : {Sizes{1, 576, 576}, Sizes{17, 65, 1536}, Sizes{130, 200, 90}}) {
    const Tensor a = tensor<T>(s.m, s.k, 1), b = tensor<T>(s.n, s.k, 2);
    Tensor c = Tensor::empty({s.m, s.n}, a.dtype());
    this->kernels_.matmul(a, Transpose::no, b, Transpose::yes, c, false);
    const Matrix x = matrix(a), y = matrix(b), got = matrix(c), want = x * y.transpose();
    const Matrix size = x.cwiseAbs() * y.cwiseAbs().transpose();
    // Eigen's own f64 sum errs as much as ours in f64: twice the bound. The baseline rounds twice
    // a step.
    const double eps = std::numeric_limits<T>::epsilon() / 2, u = 4 * double(s.k) * eps;
    EXPECT_LE(((got - want).cwiseAbs() - u / (1 - u) * size).maxCoeff(), 0)
        << s.m << " x " << s.n << " x " << s.k;
    // The bound itself must bite: far below the numbers compared.
    EXPECT_LT(u * size.maxCoeff(), 0.1 * want.cwiseAbs().maxCoeff());
  }
}

// The tables of all levels of this machine, without the threads around them.
template <class T>
void check_level(const std::string& name, const Sizes& s, bool at, bool bt, bool accumulate) {
  const cpu::GemmIsa<T>& g = cpu::level(name).of<T>().gemm;
  const std::vector<T> a = numbers<T>(s.m * s.k, 1), b = numbers<T>(s.n * s.k, 2);
  const int64_t panels = (s.n + g.panel - 1) / g.panel;
  std::vector<T> packed(static_cast<std::size_t>(panels * g.panel * s.k), T(9)),
      c = numbers<T>(s.m * s.n, 3), want = c, scratch(static_cast<std::size_t>(g.scratch));
  for (int64_t p = 0; p < panels; ++p)
    g.pack_panel(b.data() + p * g.panel * (bt ? s.k : 1), bt ? s.k : s.n, bt, s.k,
                 std::min(g.panel, s.n - p * g.panel), packed.data() + p * g.panel * s.k);
  cpu::GemmBlock<T> block;
  block.rows = s.m, block.columns = s.n, block.depth = s.k;
  block.a = a.data(), block.a_transposed = at, block.a_stride = at ? s.m : s.k;
  block.packed = packed.data(), block.panel_stride = g.panel * s.k;
  block.c = c.data(), block.c_stride = s.n, block.accumulate = accumulate;
  block.scratch = scratch.data();
  g.product(block);
  chains<T>(s.m, s.n, s.k, a.data(), at ? 1 : s.k, at ? s.m : 1, b.data(), bt ? 1 : s.n,
            bt ? s.k : 1, want.data(), accumulate, is_fused(name));
  ASSERT_TRUE(same_bits(c.data(), want.data(), s.m * s.n))
      << name << ": " << s.m << " x " << s.n << " x " << s.k << " A " << at << " B " << bt;
}

TYPED_TEST(Gemm, EveryLevelComputesTheChain) {
  for (const std::string& name : cpu::level_names())
    for (const Sizes& s : border_sizes())
      for (const bool at : {false, true})
        for (const bool bt : {false, true})
          for (const bool accumulate : {false, true})
            check_level<TypeParam>(name, s, at, bt, accumulate);
}

TYPED_TEST(Gemm, EigenComputesTheSameProducts) {
  using T = TypeParam;
  for (const Sizes& s : {Sizes{7, 33, 50}, Sizes{1, 5, 3}, Sizes{0, 4, 3}, Sizes{4, 3, 0}})
    for (const Transpose ta : kBoth)
      for (const Transpose tb : kBoth)
        for (const bool accumulate : {false, true}) {
          const bool at = ta == Transpose::yes, bt = tb == Transpose::yes;
          const Tensor a = tensor<T>(at ? s.k : s.m, at ? s.m : s.k, 1);
          const Tensor b = tensor<T>(bt ? s.n : s.k, bt ? s.k : s.n, 2);
          Tensor c = tensor<T>(s.m, s.n, 3), p = c.clone();
          const Tensor want = chains<T>(a, ta, b, tb, c, accumulate);
          cpu::eigen::matmul(a, ta, b, tb, c, accumulate);
          if (at) p = c.clone();
          else cpu::eigen::matmul_packed(a, cpu::eigen::pack(b, tb), s.n, p, accumulate);
          const T bound = T(200) * std::numeric_limits<T>::epsilon();
          for (int64_t i = 0; i < c.numel(); ++i) {
            ASSERT_NEAR(c.data<T>()[i], want.data<T>()[i], bound);
            ASSERT_NEAR(p.data<T>()[i], want.data<T>()[i], bound);
          }
        }
}

TEST(Levels, TheLevelInUseIsTheBestOrTheOneNamed) {
  const char* named = std::getenv("R1_ISA");
  EXPECT_EQ(cpu::isa().name, named != nullptr ? std::string(named) : cpu::level_names().back());
}

// This program again, under each level: threads, packing and all.
TEST(Levels, EveryLevelPassesTheseTests) {
  if (std::getenv("R1_ISA") != nullptr) GTEST_SKIP() << "this is such a run";
  const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
  const auto run = [&](const std::string& name, const std::string& filter) {
    const std::string command = "GTEST_OUTPUT= R1_ISA=" + name + " '" + self +
                                "' --gtest_filter='" + filter + "' > /dev/null 2>&1";
    return std::system(command.c_str());
  };
  const std::string filter =
      "Levels.TheLevel*:Gemm/0.EveryElement*:Gemm/*.Packed*:Gemm/*.Rows*:Gemm/*.Cuts*";
  for (const std::string& name : cpu::level_names()) EXPECT_EQ(run(name, filter), 0) << name;
  EXPECT_NE(run("sse9", "Gemm/*.Cuts*"), 0);
}

TEST(Levels, UnknownNameListsTheKnown) {
  ASSERT_FALSE(cpu::level_names().empty());
  EXPECT_EQ(cpu::level(cpu::level_names().back()).name, cpu::level_names().back());
  try {
    cpu::level("sse9");
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("sse9"), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find(cpu::level_names().front()), std::string::npos);
  }
}

}  // namespace
}  // namespace r1
