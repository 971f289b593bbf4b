// The finite differences find right gradients right and wrong ones wrong.
#include "autograd/gradcheck.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/autograd/op_case.h"

namespace r1::testing {
namespace {

Tensor random_tensor(std::uint32_t stream, const Shape& shape, double low = -1, double high = 1) {
  return tensor_of(random_values(stream, shape.numel(), low, high, 0, DType::f64), shape);
}

// x^3 whose backward returns `slope` times the gradient.
Tensor cube(const Tensor& x, double slope) {
  Tensor y;
  {
    const Pause pause;
    y = multiply(x, multiply(x, x));
  }
  Tape* tape = Tape::current();
  if (tape != nullptr) {
    tape->record(y, [=](const Tensor& dy) {
      const Tensor square = multiply(x, x);
      tape->add_grad(x, affine(multiply(dy, square), 3 * slope, 0));
    });
  }
  return y;
}

TEST(Gradcheck, AcceptsTheRightGradient) {
  const std::vector<Tensor> inputs = {random_tensor(1, {3, 5})};
  const auto report = gradcheck([](auto x) { return sum(cube(x[0], 1)); }, {}, inputs);
  EXPECT_LT(report.worst, 1e-11);
  EXPECT_EQ(report.checked, 15);
}

TEST(Gradcheck, FindsASlopeThatIsOffByAMillionth) {
  const std::vector<Tensor> inputs = {tensor_of({0.1, -2, 0.3}, {3})};
  const auto report = gradcheck([](auto x) { return sum(cube(x[0], 1 + 1e-6)); }, {}, inputs);
  EXPECT_NEAR(report.worst, 1e-6, 1e-8);
  EXPECT_EQ(report.where, "input 0[1]");
  EXPECT_NEAR(report.analytic, 12 * (1 + 1e-6), 1e-9);
  EXPECT_NEAR(report.numeric, 12, 1e-9);
}

TEST(Gradcheck, FindsAMissingGradient) {
  Parameter w(random_tensor(1, {4, 3}));
  const std::vector<Tensor> inputs = {random_tensor(2, {2, 3})};
  Parameter other(w.value);  // the same numbers, so that f depends on w, but w gets no gradient
  const auto without = [&](std::span<const Tensor> x) {
    other.value_changed();
    return sum(linear(x[0], other));
  };
  const auto report = gradcheck(without, {{"w", &w}}, inputs);
  EXPECT_GT(report.worst, 0.5);
  EXPECT_EQ(report.where.substr(0, 2), "w[");
  EXPECT_EQ(report.analytic, 0);
}

TEST(Gradcheck, ReportsNaN) {
  const auto f = [](auto x) { return sum(cube(x[0], std::numeric_limits<double>::quiet_NaN())); };
  const auto report = gradcheck(f, {}, std::vector<Tensor>{tensor_of({1, 2}, {2})});
  EXPECT_TRUE(std::isnan(report.worst));
  EXPECT_EQ(report.where, "input 0[0]");
}

// A small network with everything that a decoder has, its blocks computed again in backward.
TEST(Gradcheck, RecomputedBlocksOfANetwork) {
  const auto weights = [](std::uint32_t stream, const Shape& shape) {
    return Parameter(random_tensor(stream, shape, -0.5, 0.5));
  };
  Parameter table = weights(1, {7, 6}), norm(random_tensor(2, {6}, 0.5, 1.5)),
            gate = weights(3, {8, 6}), up = weights(4, {8, 6}), down = weights(5, {6, 8}),
            bias = weights(6, {6}), frozen = weights(7, {6, 6});
  frozen.trainable = false;
  const auto attend = [](const Tensor& x) {
    const std::vector<Segment> segments = {{0, 2, 0, 0}, {2, 3, 0, 2}};
    return add(x, attention(x, x, x, segments, {2, 2, 3, 3, 0.5}));
  };
  const auto feed_forward = [&](const Tensor& x) {
    const Tensor h = linear(rms_norm(x, norm, 1e-5), frozen);
    return add(x, swiglu_linear(linear(h, gate), linear(h, up), down, &bias));
  };
  const auto f = [&](std::span<const Tensor> in) {
    Tensor x = add(embedding(table, ids_of({1, 0, 3, 3, 6})), in[0]);
    for (int layer = 0; layer < 2; ++layer) x = recompute(feed_forward, recompute(attend, x));
    return sum(linear_logprob(x, table, ids_of({0, 3, 3, 6, 2}), {.temperature = 0.8}).logprob);
  };
  const ParameterList parameters = {{"table", &table},  {"norm", &norm}, {"gate", &gate},
                                    {"up", &up},        {"down", &down}, {"bias", &bias},
                                    {"frozen", &frozen}};
  const Values before = gate.value.to_vector();
  const std::vector<Tensor> inputs = {random_tensor(8, {5, 6})};
  const Values input = inputs[0].to_vector();
  const auto report = gradcheck(f, parameters, inputs);
  EXPECT_LT(report.worst, 1e-9) << report.where << ": " << report.analytic << " but differences "
                                << report.numeric;
  EXPECT_EQ(report.checked, 30 + 42 + 6 + 3 * 48 + 6);
  EXPECT_EQ(gate.value.to_vector(), before);
  EXPECT_EQ(inputs[0].to_vector(), input);
  EXPECT_EQ(inputs[0].node(), 0);
  EXPECT_TRUE(gate.grad.defined());
  EXPECT_FALSE(frozen.grad.defined());
}

TEST(Gradcheck, ChecksAsManyElementsAsAsked) {
  Parameter w(random_tensor(1, {10, 10}));
  const std::vector<Tensor> inputs = {random_tensor(2, {1, 10})};
  const auto f = [&](auto x) { return sum(linear(x[0], w)); };
  const auto report = gradcheck(f, {{"w", &w}}, inputs, {.elements = 7});
  EXPECT_EQ(report.checked, 14);
  EXPECT_LT(report.worst, 1e-11);
}

TEST(Gradcheck, RestoresValuesWhenTheFunctionThrows) {
  Parameter w(tensor_of({1, 2}, {1, 2}));
  int calls = 0;
  const auto f = [&](std::span<const Tensor>) {
    R1_CHECK(++calls < 4, "enough");
    return sum(linear(tensor_of({3, 4}, {1, 2}), w));
  };
  EXPECT_THROW(gradcheck(f, {{"w", &w}}), Error);
  EXPECT_EQ(w.value.to_vector(), Values({1, 2}));
  EXPECT_EQ(linear(tensor_of({3, 4}, {1, 2}), w).item(), 11);
}

TEST(Gradcheck, WantsF64AndADependence) {
  Parameter single(Tensor::full({2, 2}, 1, DType::f32));
  const auto constant = [](auto) { return tensor_of({1}, {1}); };
  try {
    gradcheck(constant, {{"layer.w", &single}});
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "gradcheck: layer.w (2, 2) is f32, use f64");
  }
  EXPECT_THROW(gradcheck(constant, {}, std::vector<Tensor>{tensor_of({1}, {1})}), Error);
}

}  // namespace
}  // namespace r1::testing
