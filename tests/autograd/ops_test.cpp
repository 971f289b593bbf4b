// Every operation of the table, forward and backward: against its definition in f64, against f64 in
// f32 and bf16, and to the bit across threads, batches and frozen operands.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tensor/parallel.h"
#include "tests/autograd/op_case.h"

namespace r1::testing {
namespace {

using reference::Sized;
using Complex = std::complex<double>;

// The rounding formula: |ours - exact| <= kRounding * u * size, with u the unit roundoff of the
// dtype and size the sum of the magnitudes of all terms (tests/reference/sized.h).
constexpr double kRounding = 1;

double unit_roundoff(DType t) {
  return t == DType::f64 ? 0x1p-53 : t == DType::f32 ? 0x1p-24 : 0x1p-8;
}

struct Expected {
  Values value, size;
};

Expected expected_output(const OpCase& c, const Arrays<double>& values) {
  Arrays<Sized> in;
  for (const Values& v : values) in.emplace_back(v.begin(), v.end());
  Expected e{c.reference.value(values), {}};
  for (const Sized& s : c.reference.sized(in)) e.size.push_back(s.size);
  return e;
}

// d sum(dy y) / d (each element of input i): a complex step for the value, Sized for the size.
Expected expected_gradient(const OpCase& c, const Arrays<double>& values, std::size_t i,
                           const Values& dy) {
  constexpr double kStep = 1e-100;
  Arrays<Complex> complex;
  Arrays<Sized> sized;
  for (const Values& v : values) {
    complex.emplace_back(v.begin(), v.end());
    sized.emplace_back(v.begin(), v.end());
  }
  Expected e;
  for (std::size_t j = 0; j < values[i].size(); ++j) {
    const double x = values[i][j];
    complex[i][j] = {x, kStep};
    sized[i][j] = Sized::variable(x);
    const auto y = c.reference.complex(complex);
    const auto s = c.reference.sized(sized);
    double value = 0, size = 0;
    for (std::size_t n = 0; n < dy.size(); ++n) {
      value += dy[n] * y[n].imag() / kStep;
      size += std::abs(dy[n]) * (s[n].slope_size + 2 * std::abs(s[n].derivative));
    }
    e.value.push_back(value);
    e.size.push_back(size);
    complex[i][j] = x;
    sized[i][j] = Sized(x);
  }
  return e;
}

// Largest error in units of u * size; reports the element when it is above kRounding.
double compare(const Tensor& ours, const Expected& e, double factor, double u,
               const std::string& what) {
  const Values got = ours.to_vector();
  EXPECT_EQ(got.size(), e.value.size()) << what;
  double worst = 0;
  for (std::size_t i = 0; i < std::min(got.size(), e.value.size()); ++i) {
    const double want = factor * e.value[i];
    const double distance = std::abs(got[i] - want), bound = u * factor * e.size[i];
    EXPECT_TRUE(distance <= kRounding * bound)
        << what << "[" << i << "]: got " << got[i] << ", want " << want << ", off by "
        << distance / bound << " u";
    if (distance > 0) worst = std::max(worst, distance / bound);
  }
  return worst;
}

struct Sizes {
  std::int64_t rows, width;
};
// One number, one row, odd sizes beside vector widths, no row at all.
const std::vector<Sizes> kSizes = {{1, 1}, {1, 7}, {3, 5}, {5, 16}, {13, 9}, {7, 33}, {0, 5}};
const Sizes kLarge = {75, 517};  // several tasks for the threads

class Ops : public ::testing::TestWithParam<OpFamily> {
 protected:
  ~Ops() override { set_thread_count(2); }

  // f(case, "5 x 16") for every small size.
  template <class F>
  void for_each_size(F&& f) {
    for (const Sizes& s : kSizes) {
      f(GetParam().make(s.rows, s.width), std::to_string(s.rows) + " x " + std::to_string(s.width));
    }
  }

  // Result and gradients of all differentiable inputs in `dtype`, against the definition.
  double compare_all(const OpCase& c, DType dtype, int passes, const std::string& where) {
    const Arrays<double> values = values_of(c, dtype);
    const Outcome r = run(c, values, dtype, {.passes = passes});
    double worst = compare(r.y, expected_output(c, values), 1, unit_roundoff(dtype), where + " y");
    for (std::size_t i = 0; i < c.inputs.size(); ++i) {
      const std::string what = where + " gradient of input " + std::to_string(i);
      if (!c.inputs[i].differentiable()) continue;
      if (!r.gradients[i].defined()) {  // of a parameter that no row has used
        EXPECT_EQ(r.y.numel(), 0) << what << " is missing";
        continue;
      }
      EXPECT_EQ(r.gradients[i].shape(), c.inputs[i].shape) << what;
      EXPECT_EQ(r.gradients[i].dtype(), dtype) << what;
      const Expected e = expected_gradient(c, values, i, r.dy.to_vector());
      worst = std::max(worst, compare(r.gradients[i], e, passes, unit_roundoff(dtype), what));
    }
    return worst;
  }

  void compare_sizes(DType dtype, int passes = 1) {
    double worst = 0;
    for_each_size([&](const OpCase& c, const std::string& where) {
      worst = std::max(worst, compare_all(c, dtype, passes, where));
    });
    RecordProperty("worst_in_u", std::to_string(worst));
  }
};

TEST_P(Ops, F64MatchesTheDefinition) { compare_sizes(DType::f64); }
TEST_P(Ops, F32MatchesF64) { compare_sizes(DType::f32); }
TEST_P(Ops, Bf16MatchesF64) { compare_sizes(DType::bf16); }
TEST_P(Ops, TwoUsesAddTheirGradients) { compare_sizes(DType::f64, 2); }

void expect_equal(const Outcome& a, const Outcome& b, const std::string& what) {
  EXPECT_TRUE(same_bits(a.y, b.y)) << what << " y";
  for (std::size_t i = 0; i < a.gradients.size(); ++i) {
    EXPECT_TRUE(same_bits(a.gradients[i], b.gradients[i])) << what << " gradient of input " << i;
  }
}

TEST_P(Ops, ThreadsChangeNoBit) {
  const OpCase c = GetParam().make(kLarge.rows, kLarge.width);
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    const Arrays<double> values = values_of(c, dtype);
    set_thread_count(1);
    const Outcome want = run(c, values, dtype);
    for (const int threads : {2, 4}) {
      set_thread_count(threads);
      expect_equal(want, run(c, values, dtype),
                   name_of(dtype) + (" with threads: " + std::to_string(threads)));
    }
  }
}

TEST_P(Ops, RecordingChangesNoBit) {
  for_each_size([&](const OpCase& c, const std::string& where) {
    const Arrays<double> values = values_of(c, DType::f32);
    const Outcome recorded = run(c, values, DType::f32);
    const Outcome plain = run(c, values, DType::f32, {.all_frozen = true});
    EXPECT_TRUE(recorded.recorded && same_bits(recorded.y, plain.y)) << where;
  });
}

// Row n of everything that has rows; the rest as it is.
OpCase row_of(const OpCase& c, std::int64_t N, std::int64_t n, Arrays<double>& values) {
  OpCase one = c;
  for (std::size_t i = 0; i < c.inputs.size(); ++i) {
    if (c.inputs[i].role != Role::rows) continue;
    const auto D = static_cast<std::size_t>(c.inputs[i].shape.cols());
    const auto begin = static_cast<std::size_t>(n) * D;
    values[i] = Values(values[i].begin() + static_cast<std::ptrdiff_t>(begin),
                       values[i].begin() + static_cast<std::ptrdiff_t>(begin + D));
    one.inputs[i].shape = {1, c.inputs[i].shape.cols()};
  }
  if (static_cast<std::int64_t>(c.ids.size()) == N) one.ids = {c.ids[static_cast<std::size_t>(n)]};
  return one;
}

TEST_P(Ops, RowAloneGivesTheBitsOfTheBatch) {
  if (!GetParam().row_by_row) GTEST_SKIP() << "not row by row";
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    for (const Sizes& s : {Sizes{13, 9}, Sizes{19, 65}}) {
      const OpCase c = GetParam().make(s.rows, s.width);
      const Arrays<double> values = values_of(c, dtype);
      const Outcome batch = run(c, values, dtype);
      for (std::int64_t n = 0; n < s.rows; ++n) {
        Arrays<double> part = values;
        const OpCase one = row_of(c, s.rows, n, part);
        const Outcome alone = run(one, part, dtype, {.cotangent = batch.dy.narrow(n, 1)});
        const std::string what = name_of(dtype) + (" row " + std::to_string(n));
        EXPECT_TRUE(same_bits(alone.y, batch.y.narrow(n, 1))) << what;
        for (std::size_t i = 0; i < c.inputs.size(); ++i) {
          if (c.inputs[i].role != Role::rows) continue;
          EXPECT_TRUE(same_bits(alone.gradients[i], batch.gradients[i].narrow(n, 1)))
              << what << " gradient of input " << i;
        }
      }
    }
  }
}

TEST_P(Ops, FrozenInputGetsNoGradientAndChangesNoOther) {
  for (const Sizes& s : {Sizes{1, 7}, Sizes{13, 9}}) {
    const OpCase c = GetParam().make(s.rows, s.width);
    const Arrays<double> values = values_of(c, DType::f32);
    const Outcome all = run(c, values, DType::f32);
    for (std::size_t f = 0; f < c.inputs.size(); ++f) {
      if (!c.inputs[f].differentiable()) continue;
      Outcome r = run(c, values, DType::f32, {.frozen = static_cast<int>(f)});
      EXPECT_FALSE(r.gradients[f].defined()) << "input " << f;
      r.gradients[f] = all.gradients[f];
      if (r.recorded) expect_equal(all, r, "frozen input " + std::to_string(f));
      else EXPECT_TRUE(same_bits(all.y, r.y));
    }
    // recompute cannot know what its block holds, so it is recorded always.
    const bool recorded = run(c, values, DType::f32, {.all_frozen = true}).recorded;
    EXPECT_EQ(recorded, std::string(GetParam().name) == "recompute");
  }
}

std::string test_name(const ::testing::TestParamInfo<OpFamily>& info) {
  std::string name = info.param.name;
  std::replace(name.begin(), name.end(), ' ', '_');
  return name;
}
INSTANTIATE_TEST_SUITE_P(, Ops, ::testing::ValuesIn(op_families()), test_name);

}  // namespace

void PrintTo(const OpFamily& family, std::ostream* out) { *out << family.name; }

}  // namespace r1::testing
