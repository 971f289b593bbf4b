// The tape itself: who gets which gradient, what is an error, and when memory is given back.
#include "autograd/tape.h"

#include <gtest/gtest.h>

#include <string>

#include "autograd/ops.h"
#include "tensor/allocator.h"
#include "tests/autograd/op_case.h"

namespace r1::testing {
namespace {

Tensor numbers(const Values& x) { return tensor_of(x, {static_cast<std::int64_t>(x.size())}); }

template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(Tape, NothingIsRecordedWithoutARecording) {
  const Tensor x = numbers({1, 2});
  EXPECT_EQ(Tape::current(), nullptr);
  EXPECT_EQ(exp(x).node(), 0);
  const Recording recording;
  EXPECT_NE(Tape::current(), nullptr);
  EXPECT_EQ(exp(x).node(), 0) << "x is not watched";
}

// f = sum(x x + x): x is used three times.
TEST(Tape, ReuseOfATensorAddsUp) {
  Recording recording;
  Tensor x = numbers({1, -2, 3});
  recording.tape().watch(x);
  recording.backward(sum(add(multiply(x, x), x)));
  EXPECT_EQ(recording.tape().gradient(x).to_vector(), Values({3, -3, 7}));
}

// y = exp(x); f = sum(2 y * (y - 1)): two paths meet again in y before they go on to x.
TEST(Tape, DiamondRunsEveryNodeOnce) {
  Recording recording;
  Tensor x = numbers({0, 1});
  recording.tape().watch(x);
  const Tensor y = exp(x);
  const Tensor f = sum(multiply(affine(y, 2, 0), affine(y, 1, -1)));
  recording.backward(f);
  const Values g = recording.tape().gradient(x).to_vector();
  for (std::size_t i = 0; i < 2; ++i) {
    const double e = std::exp(static_cast<double>(i));
    EXPECT_NEAR(g[i], (4 * e - 2) * e, 1e-13);
  }
}

// The first gradient is taken over without a copy: adding to one must not show in the other, nor
// in the cotangent that the caller still holds.
TEST(Tape, SharedGradientsAreNotWrittenThrough) {
  Recording recording;
  Tensor a = numbers({1, 1}), b = numbers({2, 2});
  recording.tape().watch(a);
  recording.tape().watch(b);
  const Tensor y = add(add(a, b), reshape(a, {2}));
  const Tensor dy = numbers({10, 20});
  recording.tape().backward(y, dy);
  EXPECT_EQ(recording.tape().gradient(a).to_vector(), Values({20, 40}));
  EXPECT_EQ(recording.tape().gradient(b).to_vector(), Values({10, 20}));
  EXPECT_EQ(dy.to_vector(), Values({10, 20}));
}

TEST(Tape, WatchedLeaf) {
  Recording recording;
  Tensor x = numbers({1, 2}), unused = numbers({5, 6});
  recording.tape().watch(x);
  recording.tape().watch(unused);
  EXPECT_TRUE(recording.tape().tracks(x));
  recording.tape().backward(x, numbers({3, 4}));  // the output may be the leaf itself
  EXPECT_EQ(recording.tape().gradient(x).to_vector(), Values({3, 4}));
  EXPECT_EQ(recording.tape().gradient(unused).to_vector(), Values({0, 0}));
}

// What is watched is a leaf from then on: nothing flows to what it was made from.
TEST(Tape, WatchingAResultCutsThere) {
  Recording recording;
  Tensor x = numbers({1});
  recording.tape().watch(x);
  Tensor y = exp(x);
  recording.tape().watch(y);
  recording.backward(sum(affine(y, 3, 0)));
  EXPECT_EQ(recording.tape().gradient(y).item(), 3);
  EXPECT_EQ(recording.tape().gradient(x).item(), 0);
}

TEST(Tape, SeedScalesTheGradient) {
  Recording recording;
  Tensor x = numbers({1, 2});
  recording.tape().watch(x);
  recording.backward(sum(x), 0.5);
  EXPECT_EQ(recording.tape().gradient(x).to_vector(), Values({0.5, 0.5}));
}

TEST(Tape, NestedRecordingsDoNotMix) {
  Recording outer;
  Tensor x = numbers({2});
  outer.tape().watch(x);
  const Tensor y = multiply(x, x);
  {
    Recording inner;
    EXPECT_EQ(Tape::current(), &inner.tape());
    EXPECT_EQ(multiply(y, y).node(), 0) << "what the outer tape tracks is a constant here";
    Tensor z = numbers({3});
    inner.tape().watch(z);
    const Tensor product = multiply(y, z);
    EXPECT_FALSE(outer.tape().tracks(product));
    EXPECT_NE(error_of([&] { outer.backward(product); }), "no error");
    inner.backward(product);
    EXPECT_EQ(inner.tape().gradient(z).item(), 4);
  }
  EXPECT_EQ(Tape::current(), &outer.tape());
  outer.backward(y);
  EXPECT_EQ(outer.tape().gradient(x).item(), 4);
}

TEST(Tape, PauseStopsRecording) {
  Recording recording;
  Tensor x = numbers({2});
  recording.tape().watch(x);
  Tensor constant;
  {
    const Pause pause;
    EXPECT_EQ(Tape::current(), nullptr);
    constant = multiply(x, x);
  }
  EXPECT_EQ(constant.node(), 0);
  recording.backward(multiply(constant, x));
  EXPECT_EQ(recording.tape().gradient(x).item(), 4);
}

// Nothing that a backward closure computes is recorded.
TEST(Tape, BackwardDoesNotRecord) {
  Recording recording;
  Tensor x = numbers({2});
  recording.tape().watch(x);
  Tensor y = exp(x);
  Tape* during = &recording.tape();
  recording.tape().record(y, [&](const Tensor&) { during = Tape::current(); });
  recording.backward(y);
  EXPECT_EQ(during, nullptr);
  EXPECT_EQ(Tape::current(), &recording.tape());
}

// A chain of n exponentials keeps n activations; backward gives each back once it is used, so that
// the peak lies two gradients above the start, not n.
TEST(Tape, BackwardFreesActivationsAsItGoes) {
  constexpr std::int64_t kNumbers = 1 << 16;
  constexpr int kDepth = 12;
  constexpr std::size_t kBytes = kNumbers * sizeof(double);
  Recording recording;
  Tensor x = Tensor::full({kNumbers}, 0.0, DType::f64);
  recording.tape().watch(x);
  const std::size_t before = memory::bytes_in_use();
  std::size_t at_first_layer = 0;
  Tensor y = affine(x, 1, 0);
  Tensor marked = y;  // same numbers; its closure sees what is left when backward arrives here
  recording.tape().record(marked, [&, node = y.node()](const Tensor& dy) {
    at_first_layer = memory::bytes_in_use();
    recording.tape().add_grad(node, dy);
  });
  y = Tensor();
  Tensor chain = std::move(marked);
  for (int i = 0; i < kDepth; ++i) chain = affine(exp(chain), 0.5, -0.5);
  chain = sum(chain);
  const std::size_t full = memory::bytes_in_use();
  EXPECT_GE(full, before + kDepth * kBytes);
  memory::reset_peak();
  recording.backward(chain);
  EXPECT_LE(memory::peak_bytes(), full + 3 * kBytes);
  EXPECT_LE(at_first_layer, before + 3 * kBytes);
  EXPECT_LE(memory::bytes_in_use(), before + 2 * kBytes);  // the gradient of x
  EXPECT_NEAR(recording.tape().gradient(x).to_vector()[7], std::pow(0.5, kDepth), 1e-15);
}

TEST(Tape, OutputThatWasNotRecordedIsAnError) {
  Recording recording;
  const Tensor x = numbers({1, 2});
  const std::string message = error_of([&] { recording.backward(sum(x)); });
  EXPECT_NE(message.find("backward: the output (1) was not recorded"), std::string::npos)
      << message;
  Tensor other;
  {
    Recording before;
    other = numbers({1});
    before.tape().watch(other);
    other = exp(other);
  }
  EXPECT_NE(error_of([&] { recording.backward(other); }), "no error");
}

TEST(Tape, SecondBackwardOfAnOutputIsAnError) {
  Recording recording;
  Tensor x = numbers({1, 2});
  recording.tape().watch(x);
  const Tensor y = exp(x);
  const Tensor f = sum(y), g = sum(multiply(y, y));
  recording.backward(f);
  const Values once = recording.tape().gradient(x).to_vector();
  EXPECT_NE(error_of([&] { recording.backward(f); }), "no error");
  EXPECT_NE(error_of([&] { recording.backward(g); }), "no error") << "its graph is gone too";
  EXPECT_EQ(recording.tape().gradient(x).to_vector(), once);
}

// What a replayed tape made before is a constant; watched leaves stay and go on accumulating.
TEST(Tape, RecordsOnceMoreAfterBackward) {
  Recording recording;
  Tensor x = numbers({3});
  recording.tape().watch(x);
  const Tensor y = multiply(x, x);
  recording.backward(y);
  recording.backward(multiply(y, x));
  EXPECT_EQ(recording.tape().gradient(x).item(), 6 + 9);
}

TEST(Tape, BadCotangentIsAnError) {
  Recording recording;
  Tensor x = numbers({1, 2});
  recording.tape().watch(x);
  const Tensor y = exp(x);
  for (const Tensor& dy :
       {numbers({1}), numbers({1, 2}).cast(DType::f32), numbers({1, 2}).reshape({2, 1})}) {
    const std::string message = error_of([&] { recording.tape().backward(y, dy); });
    EXPECT_NE(message.find("backward: gradient"), std::string::npos) << message;
    EXPECT_NE(message.find(dy.shape().str()), std::string::npos) << message;
  }
  const std::string message = error_of([&] { recording.backward(y); });
  EXPECT_NE(message.find("backward: the loss has shape (2)"), std::string::npos) << message;
}

TEST(Parameter, GradientAddsUpOverBackwardPasses) {
  Parameter table(numbers({1, 2, 3, 4}).reshape({2, 2}));
  EXPECT_FALSE(table.grad.defined());
  for (int pass = 1; pass <= 2; ++pass) {
    Recording recording;
    recording.backward(sum(embedding(table, ids_of({1, 1, 0}))));
    EXPECT_EQ(table.grad.to_vector(), Values({1.0 * pass, 1.0 * pass, 2.0 * pass, 2.0 * pass}));
  }
  table.zero_grad();
  EXPECT_EQ(table.grad.to_vector(), Values({0, 0, 0, 0}));
}

// Also when it was trainable before and has a gradient from then.
TEST(Parameter, FrozenGradientIsLeftAlone) {
  Parameter w(numbers({1, 2})), table(numbers({1, 2, 3, 4}).reshape({2, 2})),
      matrix(numbers({1, 2, 3, 4}).reshape({2, 2})), bias(numbers({1, 2}));
  for (Parameter* p : {&w, &table, &matrix, &bias}) {
    p->grad = Tensor::full(p->value.shape(), 7, DType::f64);
    p->trainable = false;
    EXPECT_FALSE(p->gradient().defined());
  }
  Recording recording;
  EXPECT_EQ(embedding(table, ids_of({0})).node(), 0);
  Tensor x = tensor_of({1, 2}, {1, 2});
  recording.tape().watch(x);
  Tensor y = linear(rms_norm(x, w, 1e-5), matrix, &bias);
  y = swiglu_linear(y, y, matrix, &bias);
  recording.backward(sum(linear_logprob(y, matrix, ids_of({1})).logprob));
  for (Parameter* p : {&w, &table, &matrix, &bias}) {
    for (const double g : p->grad.to_vector()) EXPECT_EQ(g, 7);
  }
}

TEST(Parameter, PackedFormFollowsTheValue) {
  Parameter w(tensor_of({1, 2}, {1, 2}));
  const Tensor x = tensor_of({3, 4}, {1, 2});
  EXPECT_EQ(linear(x, w).item(), 11);
  w.value.data<double>()[0] = 5;
  w.value_changed();
  EXPECT_EQ(linear(x, w).item(), 23);
}

}  // namespace
}  // namespace r1::testing
