// What single operations promise beyond the table: equal bits of two ways to compute the same.
#include <gtest/gtest.h>

#include <algorithm>

#include "tensor/allocator.h"
#include "tests/autograd/op_case.h"
#include "tests/reference/attention.h"

namespace r1::testing {
namespace {

constexpr DType kDTypes[] = {DType::f64, DType::f32, DType::bf16};

Tensor random_tensor(std::uint32_t stream, const Shape& shape, DType dtype) {
  return tensor_of(random_values(stream, shape.numel(), -1, 1, 0, dtype), shape, dtype);
}

// Bits of a function's result, of the gradient of x and of the parameters' gradients.
std::vector<Tensor> everything(const std::function<Tensor(const Tensor&)>& f, Tensor x,
                               const std::vector<Parameter*>& parameters) {
  for (Parameter* p : parameters) p->grad = Tensor();
  Recording recording;
  recording.tape().watch(x);
  const Tensor y = f(x);
  recording.tape().backward(y, random_tensor(77, y.shape(), y.dtype()));
  std::vector<Tensor> all = {y, recording.tape().gradient(x)};
  for (Parameter* p : parameters) all.push_back(p->grad);
  return all;
}

void expect_same(const std::vector<Tensor>& a, const std::vector<Tensor>& b,
                 const std::string& what) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i)
    EXPECT_TRUE(same_bits(a[i], b[i])) << what << ": tensor " << i;
}

// Weights of two layers with everything in them.
struct Layers {
  explicit Layers(DType t)
      : norm(random_tensor(1, {9}, t)),
        gate(random_tensor(2, {11, 9}, t)),
        up(random_tensor(3, {11, 9}, t)),
        down(random_tensor(4, {9, 11}, t)),
        bias(random_tensor(5, {9}, t)) {}
  Tensor block(const Tensor& x) {
    const Tensor h = rms_norm(x, norm, 1e-5);
    return add(x, linear(swiglu(linear(h, gate), linear(h, up)), down, &bias));
  }
  std::vector<Parameter*> all() { return {&norm, &gate, &up, &down, &bias}; }

  Parameter norm, gate, up, down, bias;
};

TEST(Recompute, GivesTheBitsOfThePlainBlock) {
  for (const DType t : kDTypes) {
    Layers w(t);
    const auto block = [&](const Tensor& x) { return w.block(x); };
    const auto plain = [&](const Tensor& x) { return block(block(x)); };
    const auto again = [&](const Tensor& x) { return recompute(block, recompute(block, x)); };
    const auto nested = [&](const Tensor& x) {
      return recompute([&](const Tensor& in) { return recompute(block, block(in)); }, x);
    };
    const Tensor x = random_tensor(6, {7, 9}, t);
    const auto want = everything(plain, x, w.all());
    expect_same(everything(again, x, w.all()), want, name_of(t));
    expect_same(everything(nested, x, w.all()), want, name_of(t) + std::string(" nested"));
  }
}

TEST(Recompute, WithoutARecordingIsTheBlock) {
  Layers w(DType::f32);
  const Tensor x = random_tensor(6, {7, 9}, DType::f32);
  int calls = 0;
  const auto block = [&](const Tensor& in) {
    ++calls;
    return w.block(in);
  };
  EXPECT_TRUE(same_bits(recompute(block, x), w.block(x)));
  EXPECT_EQ(calls, 1);
}

TEST(Recompute, KeepsNoActivations) {
  const auto deep = [](const Tensor& x) {
    Tensor y = x;
    for (int i = 0; i < 8; ++i) y = affine(exp(y), 0.5, -0.5);
    return y;
  };
  Tensor x = Tensor::full({1 << 16}, 0.0, DType::f64);
  Recording recording;
  recording.tape().watch(x);
  const std::size_t before = memory::bytes_in_use();
  const Tensor y = recompute(deep, x);
  EXPECT_LE(memory::bytes_in_use(), before + 2 * y.bytes());
}

TEST(SwigluLinear, GivesTheBitsOfItsParts) {
  for (const DType t : kDTypes) {
    for (const bool biased : {false, true}) {
      Layers w(t);
      Parameter* bias = biased ? &w.bias : nullptr;
      const auto fused = [&](const Tensor& x) {
        return swiglu_linear(linear(x, w.gate), linear(x, w.up), w.down, bias);
      };
      const auto parts = [&](const Tensor& x) {
        return linear(swiglu(linear(x, w.gate), linear(x, w.up)), w.down, bias);
      };
      const Tensor x = random_tensor(6, {7, 9}, t);
      const auto want = everything(parts, x, w.all());
      expect_same(everything(fused, x, w.all()), want, name_of(t));
      w.down.trainable = false;
      const auto frozen = everything(fused, x, w.all());
      EXPECT_FALSE(frozen[5].defined());
      EXPECT_TRUE(same_bits(frozen[1], want[1]));
    }
  }
}

// Some rows of a batch as a batch of their own: bits of o and of dq.
struct Attended {
  Tensor o, dq, dk, dv;
};
struct AttentionInput {
  Tensor q, k, v, dout;
  AttentionInput rows(std::int64_t begin, std::int64_t length) const {
    return {q.narrow(begin, length), k.narrow(begin, length), v.narrow(begin, length),
            dout.narrow(begin, length)};
  }
};
Attended attend(AttentionInput in, const std::vector<Segment>& segments, const AttentionShape& s) {
  Recording recording;
  Tape& tape = recording.tape();
  for (Tensor* t : {&in.q, &in.k, &in.v}) tape.watch(*t);
  const Tensor o = attention(in.q, in.k, in.v, segments, s);
  tape.backward(o, in.dout);
  return {o, tape.gradient(in.q), tape.gradient(in.k), tape.gradient(in.v)};
}
AttentionInput attention_input(std::int64_t N, const AttentionShape& s, DType t) {
  return {random_tensor(1, {N, s.heads * s.key_dim}, t),
          random_tensor(2, {N, s.kv_heads * s.key_dim}, t),
          random_tensor(3, {N, s.kv_heads * s.value_dim}, t),
          random_tensor(4, {N, s.heads * s.value_dim}, t)};
}
const AttentionShape kHeads{4, 2, 5, 3, 0.4};

TEST(Attention, SequenceAloneGivesTheBitsOfTheBatch) {
  const std::vector<Segment> segments = {{0, 7, 0, 0}, {7, 1, 0, 0}, {8, 90, 0, 0}, {98, 33, 0, 0}};
  for (const DType t : kDTypes) {
    const AttentionInput in = attention_input(131, kHeads, t);
    const Attended batch = attend(in, segments, kHeads);
    for (const Segment& s : segments) {
      const Attended alone = attend(in.rows(s.begin, s.length), {{0, s.length, 0, 0}}, kHeads);
      EXPECT_TRUE(same_bits(alone.o, batch.o.narrow(s.begin, s.length)));
      EXPECT_TRUE(same_bits(alone.dq, batch.dq.narrow(s.begin, s.length)));
      EXPECT_TRUE(same_bits(alone.dk, batch.dk.narrow(s.begin, s.length)));
      EXPECT_TRUE(same_bits(alone.dv, batch.dv.narrow(s.begin, s.length)));
    }
  }
}

// Two answers to one prompt: the second one's own rows do not see the first.
TEST(Attention, AnswerAloneGivesTheBitsOfItsGroup) {
  const std::vector<Segment> group = {{0, 20, 0, 0}, {20, 11, 0, 20}, {31, 40, 0, 20}};
  for (const DType t : kDTypes) {
    const AttentionInput in = attention_input(71, kHeads, t);
    const Attended all = attend(in, group, kHeads);
    AttentionInput one;  // the prompt and the second answer
    for (const auto part :
         {&AttentionInput::q, &AttentionInput::k, &AttentionInput::v, &AttentionInput::dout}) {
      Values rows = (in.*part).narrow(0, 20).to_vector();
      const Values answer = (in.*part).narrow(31, 40).to_vector();
      rows.insert(rows.end(), answer.begin(), answer.end());
      one.*part = tensor_of(rows, {60, (in.*part).cols()}, t);
    }
    const Attended alone = attend(one, {{0, 20, 0, 0}, {20, 40, 0, 20}}, kHeads);
    EXPECT_TRUE(same_bits(alone.o.narrow(20, 40), all.o.narrow(31, 40)));
    EXPECT_TRUE(same_bits(alone.dq.narrow(20, 40), all.dq.narrow(31, 40)));
    EXPECT_TRUE(same_bits(alone.dk.narrow(20, 40), all.dk.narrow(31, 40)));
    EXPECT_TRUE(same_bits(alone.dv.narrow(20, 40), all.dv.narrow(31, 40)));
  }
}

// A segment without rows asks nothing, so its prefix learns nothing from it.
TEST(Attention, EmptySegmentsChangeNoBit) {
  const AttentionInput in = attention_input(9, kHeads, DType::f64);
  const Attended want = attend(in, {{0, 4, 0, 0}, {4, 5, 0, 4}}, kHeads);
  const Attended got =
      attend(in, {{0, 4, 0, 0}, {4, 0, 0, 4}, {4, 0, 1, 2}, {4, 5, 0, 4}, {9, 0, 0, 4}}, kHeads);
  EXPECT_TRUE(same_bits(got.o, want.o));
  EXPECT_TRUE(same_bits(got.dq, want.dq));
  EXPECT_TRUE(same_bits(got.dk, want.dk));
  EXPECT_TRUE(same_bits(got.dv, want.dv));
}

Logprobs logprobs(const Tensor& h, Parameter& w, const std::vector<std::int32_t>& targets,
                  std::size_t keep_bytes, bool want_entropy) {
  return linear_logprob(
      h, w, ids_of(targets),
      {.temperature = 0.7, .want_entropy = want_entropy, .keep_bytes = keep_bytes});
}

TEST(LinearLogprob, KeptLogitsOrNotGiveEqualBits) {
  for (const DType t : kDTypes) {
    Parameter w(random_tensor(1, {50, 6}, t));
    const Tensor h = random_tensor(2, {21, 6}, t);
    const auto with = [&](std::size_t keep_bytes) {
      return everything(
          [&](const Tensor& x) {
            return logprobs(x, w, random_ids(21, 50), keep_bytes, false).logprob;
          },
          h, {&w});
    };
    expect_same(with(0), with(std::size_t{1} << 30), name_of(t));
  }
}

// A vocabulary for which 37 rows make three chunks of 16: the bits are those of three calls that
// fit into one chunk each, and of a row by itself.
TEST(LinearLogprob, SeveralChunksGiveTheBitsOfOne) {
  constexpr std::int64_t V = 400003, N = 37;
  Parameter w(random_tensor(1, {V, 2}, DType::f32));
  const Tensor h = random_tensor(2, {N, 2}, DType::f32);
  const auto targets = random_ids(N, V);
  const Tensor dy = random_tensor(3, {N}, DType::f32);
  struct Part {
    Tensor logprob, dh;
  };
  const auto rows = [&](std::int64_t begin, std::int64_t count, std::size_t keep_bytes) {
    Recording recording;
    Tensor x = h.narrow(begin, count);
    recording.tape().watch(x);
    const std::vector<std::int32_t> ids(targets.begin() + begin, targets.begin() + begin + count);
    const Tensor y = logprobs(x, w, ids, keep_bytes, false).logprob;
    recording.tape().backward(y, dy.narrow(begin, count));
    return Part{y, recording.tape().gradient(x)};
  };
  const Part all = rows(0, N, 0);
  const Tensor dw = std::move(w.grad);
  for (const std::size_t keep : {std::size_t{0}, std::size_t{1} << 30}) {
    w.grad = Tensor();
    for (std::int64_t n = 0; n < N; n += 16) {
      const std::int64_t count = std::min<std::int64_t>(16, N - n);
      const Part part = rows(n, count, keep);
      EXPECT_TRUE(same_bits(part.logprob, all.logprob.narrow(n, count))) << n;
      EXPECT_TRUE(same_bits(part.dh, all.dh.narrow(n, count))) << n;
    }
    EXPECT_TRUE(same_bits(w.grad, dw));
  }
  w.grad = Tensor();
  const Part kept = rows(0, N, std::size_t{1} << 30);
  EXPECT_TRUE(same_bits(kept.logprob, all.logprob) && same_bits(kept.dh, all.dh));
  EXPECT_TRUE(same_bits(w.grad, dw));
  EXPECT_TRUE(same_bits(rows(17, 1, 0).logprob, all.logprob.narrow(17, 1)));
}

TEST(LinearLogprob, EntropyIsRightAndCarriesNoGradient) {
  constexpr std::int64_t V = 12, D = 4, N = 5;
  Parameter w(random_tensor(1, {V, D}, DType::f64));
  Tensor h = random_tensor(2, {N, D}, DType::f64);
  const auto targets = random_ids(N, V);
  const auto logits =
      reference::linear(h.to_vector(), w.value.to_vector(), Values(), D, std::size_t{V});
  const Values want = reference::entropy(logits, V, 0.7);
  Recording recording;
  recording.tape().watch(h);
  const Logprobs both = logprobs(h, w, targets, 0, true);
  const Logprobs plain = logprobs(h, w, targets, 0, false);
  EXPECT_FALSE(plain.entropy.defined());
  EXPECT_TRUE(same_bits(plain.logprob, both.logprob));
  const Values got = both.entropy.to_vector();
  for (std::size_t n = 0; n < got.size(); ++n) EXPECT_NEAR(got[n], want[n], 1e-14);
  EXPECT_EQ(both.entropy.node(), 0);
  EXPECT_THROW(recording.backward(sum(both.entropy)), Error);
}

// A vocabulary of equal logits: entropy log V, whatever the temperature.
TEST(LinearLogprob, EntropyOfTheUniformDistribution) {
  Parameter w(Tensor::zeros({1000, 3}, DType::f64));
  const Logprobs p = logprobs(random_tensor(2, {1, 3}, DType::f64), w, {3}, 0, true);
  EXPECT_NEAR(p.entropy.item(), std::log(1000.0), 1e-13);
  EXPECT_NEAR(p.logprob.item(), -std::log(1000.0), 1e-13);
}

}  // namespace
}  // namespace r1::testing
