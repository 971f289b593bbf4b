#include "tensor/cpu/attention.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <limits>
#include <string>

#include "tensor/cpu/levels.h"
#include "tensor/parallel.h"
#include "tensor/random.h"
#include "tests/reference/attention.h"
#include "tests/tensor/attention_case.h"

namespace r1 {
namespace {

using namespace attention_case;  // NOLINT(google-build-using-namespace)

TEST(Attention, MatchesTheReferenceInF64) {
  for (const AttentionShape& s : shapes()) {
    for (const auto& segments : batches()) {
      const Inputs in = make_inputs(rows_of(segments), s, DType::f64);
      const Vector q = in.q.to_vector(), k = in.k.to_vector(), v = in.v.to_vector();
      const Outputs y = run(in, segments, s);
      const auto want = reference::attention(q, k, v, segments, s);
      const auto grad = reference::attention_gradient(in.dout.to_vector(), q, k, v, segments, s);
      EXPECT_LT(difference(y.o.to_vector(), want.o), 1e-12);
      EXPECT_LT(difference(y.lse.to_vector(), want.lse), 1e-12);
      EXPECT_LT(difference(y.dq.to_vector(), grad.dq), 1e-12);
      EXPECT_LT(difference(y.dk.to_vector(), grad.dk), 1e-12 * (1 + largest(grad.dk)));
      EXPECT_LT(difference(y.dv.to_vector(), grad.dv), 1e-12 * (1 + largest(grad.dv)));
    }
  }
}

// The derivative of sum(dout * o) along a random direction, by a complex step of the definition.
TEST(Attention, GradientMatchesAComplexStep) {
  using Complex = std::complex<double>;
  const AttentionShape s = shape_of(6, 2, 12, 20);
  const std::vector<Segment> segments = batches()[4];
  const int64_t N = rows_of(segments);
  const Inputs in = make_inputs(N, s, DType::f64);
  const Outputs y = run(in, segments, s);
  constexpr double kStep = 1e-30;
  double along = 0;
  const auto stepped = [&](const Tensor& x, const Tensor& gradient, std::uint32_t stream) {
    const Vector value = x.to_vector(), slope = gradient.to_vector(),
                 direction = normal(x.shape(), DType::f64, stream).to_vector();
    std::vector<Complex> z;
    for (std::size_t i = 0; i < value.size(); ++i) {
      z.emplace_back(value[i], kStep * direction[i]);
      along += slope[i] * direction[i];
    }
    return z;
  };
  const auto q = stepped(in.q, y.dq, 11), k = stepped(in.k, y.dk, 12), v = stepped(in.v, y.dv, 13);
  const auto moved = reference::attention(q, k, v, segments, s);
  const Vector dout = in.dout.to_vector();
  double want = 0;
  for (std::size_t i = 0; i < dout.size(); ++i) want += dout[i] * moved.o[i].imag() / kStep;
  EXPECT_NEAR(along, want, 1e-12 * std::abs(want) + 1e-11);
}

// The rounding of f32 to be expected: n rounded terms wander by sqrt(n) / 2 ulp; an error of a
// score multiplies all that its weight enters; a gradient is a difference of terms as large as
// `term`.
TEST(Attention, F32IsF64ToRounding) {
  constexpr double kEps = std::numeric_limits<float>::epsilon();
  for (const AttentionShape& s : shapes()) {
    for (const auto& segments : batches()) {
      const Inputs wide = make_inputs(rows_of(segments), s, DType::f64);
      const Inputs narrow = make_inputs(rows_of(segments), s, DType::f32);
      const Outputs want = run(wide, segments, s), y = run(narrow, segments, s);
      const double q = largest(wide.q.to_vector()), k = largest(wide.k.to_vector());
      const double v = largest(wide.v.to_vector()), dout = largest(wide.dout.to_vector());
      const double score = s.scale * std::sqrt(static_cast<double>(s.key_dim)) * q * k;
      const double terms =
          std::sqrt(static_cast<double>(most_keys(segments) + s.key_dim + s.value_dim + 8));
      const auto close = [&](const Tensor& a, const Tensor& b, double term, const char* what) {
        const Vector exact = b.to_vector();
        EXPECT_LT(difference(a.to_vector(), exact),
                  kEps * terms * (1 + score) * (term + largest(exact)))
            << what;
      };
      close(y.o, want.o, v, "o");
      close(y.lse, want.lse, 1, "lse");
      close(y.dq, want.dq, s.scale * dout * v * k, "dq");
      close(y.dk, want.dk, s.scale * dout * v * q, "dk");
      close(y.dv, want.dv, dout, "dv");
    }
  }
}

template <class F>
void for_each_dtype(F&& f) {
  for (DType dtype : {DType::f32, DType::f64}) {
    SCOPED_TRACE(name_of(dtype));
    f(dtype);
  }
}

TEST(Attention, ThreadsDoNotChangeBits) {
  const int before = thread_count();
  for_each_dtype([&](DType dtype) {
    for (const AttentionShape& s : shapes()) {
      const auto& segments = batches()[4];
      const Inputs in = make_inputs(rows_of(segments), s, dtype);
      set_thread_count(1);
      const Outputs alone = run(in, segments, s);
      for (int threads : {2, 3, 4}) {
        set_thread_count(threads);
        expect_same_bits(run(in, segments, s), alone);
      }
    }
  });
  set_thread_count(before);
}

TEST(Attention, SegmentAloneGivesTheBitsOfTheBatch) {
  for_each_dtype([&](DType dtype) {
    for (const AttentionShape& s : shapes()) {
      const auto& segments = batches()[1];
      const Inputs in = make_inputs(rows_of(segments), s, dtype);
      const Outputs batch = run(in, segments, s);
      for (const Segment& one : segments) {
        const Outputs alone = run(in.rows(one.begin, one.length), {{0, one.length, 0, 0}}, s);
        expect_same_bits(batch.o.narrow(one.begin, one.length), alone.o, "o");
        expect_same_bits(batch.dq.narrow(one.begin, one.length), alone.dq, "dq");
        expect_same_bits(batch.dk.narrow(one.begin, one.length), alone.dk, "dk");
        expect_same_bits(batch.dv.narrow(one.begin, one.length), alone.dv, "dv");
        for (int64_t h = 0; h < s.heads; ++h) {
          const Tensor head = batch.lse.narrow(h, 1).reshape({in.q.rows()});
          expect_same_bits(head.narrow(one.begin, one.length),
                           alone.lse.narrow(h, 1).reshape({one.length}), "lse");
        }
      }
    }
  });
}

// Every row of a sequence has the bits it has when the sequence ends with it.
TEST(Attention, LaterTokensDoNotChangeBits) {
  for_each_dtype([&](DType dtype) {
    const AttentionShape s = shape_of(6, 2, 20, 12);
    const int64_t N = 90;
    const Inputs in = make_inputs(N, s, dtype);
    const Outputs whole = run(in, {{0, N, 0, 0}}, s);
    for (int64_t n = 1; n < N; ++n)
      expect_same_bits(whole.o.narrow(0, n), run(in.rows(0, n), {{0, n, 0, 0}}, s).o, "o");
  });
}

// A weight below 1 times the least negative number is -0; a key that comes later must not turn it
// into 0.
TEST(Attention, LaterTokensDoNotChangeTheSignOfZero) {
  const AttentionShape s{1, 1, 1, 1, 1};
  const Vector least = {0, -std::numeric_limits<float>::denorm_min(), 0, 0};
  const Tensor q = Tensor::full({4, 1}, 1, DType::f32),
               v = Tensor::from(least, {4, 1}).cast(DType::f32);
  const Tensor k = Tensor::from(Vector{0, -1, 0, 0}, {4, 1}).cast(DType::f32);
  Tensor all = unset({4, 1}, DType::f32), two = unset({2, 1}, DType::f32), no_lse;
  cpu::attention_forward(q, k, v, std::vector<Segment>{{0, 4, 0, 0}}, s, all, no_lse);
  cpu::attention_forward(q.narrow(0, 2), k.narrow(0, 2), v.narrow(0, 2),
                         std::vector<Segment>{{0, 2, 0, 0}}, s, two, no_lse);
  expect_same_bits(all.narrow(0, 2), two, "o");
}

Tensor concatenate(const Tensor& a, const Tensor& b) {
  Tensor y = Tensor::empty({a.rows() + b.rows(), a.cols()}, a.dtype());
  y.narrow(0, a.rows()).copy_from(a);
  y.narrow(a.rows(), b.rows()).copy_from(b);
  return y;
}

// A prompt of 41 rows shared by three sequences, against each sequence with its own copy.
TEST(Attention, SharedPrefixEqualsItsCopies) {
  const std::vector<Segment> shared = {
      {0, 41, 0, 0}, {41, 30, 0, 41}, {71, 1, 0, 41}, {72, 57, 0, 41}};
  const int64_t prompt = 41, N = 129;
  for_each_dtype([&](DType dtype) {
    for (const AttentionShape& s : shapes()) {
      const Inputs in = make_inputs(N, s, dtype);
      const Outputs y = run(in, shared, s);
      Vector dk(static_cast<std::size_t>(prompt * in.k.cols()));
      Vector dv(static_cast<std::size_t>(prompt * in.v.cols()));
      const auto add = [](Vector& sum, const Tensor& x) {
        const Vector values = x.to_vector();
        for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += values[i];
      };
      for (const Segment& one : shared) {
        Inputs copy = in.rows(one.begin, one.length);
        if (one.prefix_length > 0) {
          const Inputs head = in.rows(0, prompt);
          copy = {concatenate(head.q, copy.q), concatenate(head.k, copy.k),
                  concatenate(head.v, copy.v),
                  concatenate(Tensor::zeros(head.dout.shape(), dtype), copy.dout)};
        }
        const Outputs want = run(copy, {{0, copy.q.rows(), 0, 0}}, s);
        const int64_t own = one.prefix_length;
        expect_same_bits(y.o.narrow(one.begin, one.length), want.o.narrow(own, one.length), "o");
        expect_same_bits(y.dq.narrow(one.begin, one.length), want.dq.narrow(own, one.length), "dq");
        add(dk, want.dk.narrow(0, prompt));
        add(dv, want.dv.narrow(0, prompt));
        if (dtype == DType::f64 && own > 0) {
          EXPECT_LT(difference(y.dk.narrow(one.begin, one.length).to_vector(),
                               want.dk.narrow(own, one.length).to_vector()),
                    1e-12);
          EXPECT_LT(difference(y.dv.narrow(one.begin, one.length).to_vector(),
                               want.dv.narrow(own, one.length).to_vector()),
                    1e-12);
        }
      }
      const double tolerance = dtype == DType::f64 ? 1e-12 : 1e-4;
      EXPECT_LT(difference(y.dk.narrow(0, prompt).to_vector(), dk), tolerance * (1 + largest(dk)));
      EXPECT_LT(difference(y.dv.narrow(0, prompt).to_vector(), dv), tolerance * (1 + largest(dv)));
    }
  });
}

struct Cache {
  AttentionShape shape;
  int64_t capacity;
  Tensor keys, values;

  // Filled with NaN: what no token wrote must not be seen.
  Cache(const AttentionShape& s, int64_t slots, int64_t capacity_, DType dtype)
      : shape(s), capacity(capacity_) {
    const auto sizes = cpu::cache_sizes(s, slots, capacity);
    keys = unset({sizes.key_numbers}, dtype);
    values = unset({sizes.value_numbers}, dtype);
  }
  Tensor step(const Inputs& in, const std::vector<CacheRows>& rows) {
    Tensor o = unset(in.dout.shape(), in.q.dtype());
    cpu::cache_append(in.k, in.v, rows, shape, capacity, keys, values);
    cpu::attention_cached(in.q, keys, values, rows, shape, capacity, o);
    return o;
  }
};

TEST(AttentionCache, TokenByTokenGivesTheBitsOfOneForward) {
  for_each_dtype([&](DType dtype) {
    for (const AttentionShape& s : shapes()) {
      const int64_t N = 70;
      const Inputs in = make_inputs(N, s, dtype);
      const Tensor want = run(in, {{0, N, 0, 0}}, s).o;
      Cache cache(s, 3, 75, dtype);
      for (int64_t n = 0; n < N; ++n)
        expect_same_bits(cache.step(in.rows(n, 1), {{0, 1, 1, n}}), want.narrow(n, 1), "o");
    }
  });
}

// Prompts of several slots in pieces, then single tokens of all slots at different positions.
TEST(AttentionCache, ChunksAndSlotsGiveTheBitsOfOneForward) {
  for_each_dtype([&](DType dtype) {
    for (const AttentionShape& s : shapes()) {
      const std::vector<Segment> segments = {{0, 40, 0, 0}, {40, 77, 0, 0}, {117, 33, 0, 0}};
      const Inputs in = make_inputs(150, s, dtype);
      const Tensor want = run(in, segments, s).o;
      Cache cache(s, 3, 77, dtype);
      const Tensor prompts = cache.step(
          in.rows(0, 140), {{0, 3, 2, 0}, {3, 34, 2, 3}, {40, 77, 0, 0}, {117, 23, 1, 0}});
      expect_same_bits(prompts.narrow(0, 37), want.narrow(0, 37), "first slot");
      expect_same_bits(prompts.narrow(40, 100), want.narrow(40, 100), "other slots");
      for (int64_t i = 0; i < 3; ++i) {
        const Inputs a = in.rows(37 + i, 1), b = in.rows(140 + i, 1);
        const Inputs both = {concatenate(a.q, b.q), concatenate(a.k, b.k), concatenate(a.v, b.v),
                             concatenate(a.dout, b.dout)};
        const Tensor o = cache.step(both, {{0, 1, 2, 37 + i}, {1, 1, 1, 23 + i}});
        expect_same_bits(o.narrow(0, 1), want.narrow(37 + i, 1), "first slot");
        expect_same_bits(o.narrow(1, 1), want.narrow(140 + i, 1), "last slot");
      }
    }
  });
}

TEST(AttentionCache, CopiedSlotContinuesLikeTheOriginal) {
  for_each_dtype([&](DType dtype) {
    for (const AttentionShape& s : shapes()) {
      const Inputs in = make_inputs(60, s, dtype);
      const Tensor want = run(in, {{0, 60, 0, 0}}, s).o;
      Cache cache(s, 4, 64, dtype);
      cache.step(in.rows(0, 50), {{0, 50, 3, 0}});
      // The last key copied is the first of a panel.
      cpu::cache_copy(3, 0, 33, s, cache.capacity, cache.keys, cache.values);
      expect_same_bits(cache.step(in.rows(33, 27), {{0, 27, 0, 33}}), want.narrow(33, 27), "copy");
      expect_same_bits(cache.step(in.rows(50, 10), {{0, 10, 3, 50}}), want.narrow(50, 10),
                       "original");
    }
  });
}

// A slot taken over by another sequence, and one set back to an earlier position.
TEST(AttentionCache, OldKeysOfASlotAreNotSeen) {
  for_each_dtype([&](DType dtype) {
    const AttentionShape s = shape_of(6, 2, 20, 12);
    const Inputs in = make_inputs(80, s, dtype);
    const Tensor want = run(in, {{0, 50, 0, 0}, {50, 30, 0, 0}}, s).o;
    Cache cache(s, 1, 50, dtype);
    cache.step(in.rows(0, 50), {{0, 50, 0, 0}});
    expect_same_bits(cache.step(in.rows(50, 30), {{0, 30, 0, 0}}), want.narrow(50, 30), "reused");
    expect_same_bits(cache.step(in.rows(62, 1), {{0, 1, 0, 12}}), want.narrow(62, 1), "set back");
    expect_same_bits(cache.step(in.rows(79, 1), {{0, 1, 0, 29}}), want.narrow(79, 1), "later keys");
  });
}

TEST(Attention, UndefinedOutputsAreSkipped) {
  const AttentionShape s = shape_of(6, 2, 20, 12);
  const auto& segments = batches()[4];
  const Inputs in = make_inputs(rows_of(segments), s, DType::f32);
  const Outputs want = run(in, segments, s);
  for (int skip = 0; skip < 3; ++skip) {
    Tensor o = unset(in.dout.shape(), DType::f32), no_lse, dq, dk, dv;
    cpu::attention_forward(in.q, in.k, in.v, segments, s, o, no_lse);
    expect_same_bits(o, want.o, "o");
    if (skip != 0) dq = unset(in.q.shape(), DType::f32);
    if (skip != 1) dk = unset(in.k.shape(), DType::f32);
    if (skip != 2) dv = unset(in.v.shape(), DType::f32);
    cpu::attention_backward(in.dout, in.q, in.k, in.v, o, want.lse, segments, s, dq, dk, dv);
    if (skip != 0) expect_same_bits(dq, want.dq, "dq");
    if (skip != 1) expect_same_bits(dk, want.dk, "dk");
    if (skip != 2) expect_same_bits(dv, want.dv, "dv");
  }
}

TEST(Attention, RowsOfNoSegmentGiveZero) {
  const AttentionShape s = shape_of(2, 1, 16, 16);
  const Inputs in = make_inputs(30, s, DType::f32);
  const Outputs y = run(in, {{5, 10, 0, 0}}, s);
  for (const Tensor* x : {&y.o, &y.dq, &y.dk, &y.dv}) {
    EXPECT_EQ(largest(x->narrow(0, 5).to_vector()), 0);
    EXPECT_EQ(largest(x->narrow(15, 15).to_vector()), 0);
    EXPECT_GT(largest(x->narrow(5, 10).to_vector()), 0);
  }
  const Outputs none = run(in, {}, s);
  EXPECT_EQ(largest(none.o.to_vector()), 0);
  EXPECT_EQ(largest(none.dk.to_vector()), 0);
}

TEST(Attention, SegmentsWithoutRowsAddNothing) {
  const AttentionShape s = shape_of(4, 2, 20, 12);
  std::vector<Segment> segments = batches()[4];
  const Inputs in = make_inputs(rows_of(segments), s, DType::f32);
  const Outputs want = run(in, segments, s);
  segments.insert(segments.begin() + 1, {37, 0, 0, 37});
  segments.push_back({5, 0, 0, 0});
  expect_same_bits(run(in, segments, s), want);
}

// Scores far beyond the range of exp.
TEST(Attention, LargeScoresStayFinite) {
  const AttentionShape s = shape_of(2, 1, 16, 16);
  Inputs in = make_inputs(60, s, DType::f32);
  AttentionShape steep = s;
  steep.scale = 1e4;
  const Outputs y = run(in, {{0, 60, 0, 0}}, steep);
  for (const Tensor* x : {&y.o, &y.lse, &y.dq, &y.dk, &y.dv})
    for (double value : x->to_vector()) ASSERT_TRUE(std::isfinite(value));
  EXPECT_LE(largest(y.o.to_vector()), largest(in.v.to_vector()));
}

TEST(Attention, BadArgumentsThrow) {
  const AttentionShape s = shape_of(2, 1, 16, 16);
  const Inputs in = make_inputs(10, s, DType::f32);
  EXPECT_THROW(run(in, {{4, 7, 0, 0}}, s), Error);
  EXPECT_THROW(run(in, {{0, 5, 8, 3}}, s), Error);
  EXPECT_THROW(run(in, {{0, 5, -1, 3}}, s), Error);
  AttentionShape three = s;
  three.kv_heads = 3;
  EXPECT_THROW(run(in, {{0, 10, 0, 0}}, three), Error);
  Cache cache(s, 2, 12, DType::f32);
  EXPECT_THROW(cache.step(in, {{0, 10, 0, 3}}), Error);
  EXPECT_THROW(cache.step(in, {{0, 10, 2, 0}}), Error);
  EXPECT_THROW(cache.step(in, {{1, 10, 0, 0}}), Error);
  EXPECT_THROW(cpu::cache_copy(0, 2, 3, s, 12, cache.keys, cache.values), Error);
  EXPECT_THROW(cpu::cache_copy(0, 1, 13, s, 12, cache.keys, cache.values), Error);
}

// All of the above once more at each level below the one in use: the level is chosen when a
// program starts, so each runs in a program of its own.
TEST(AttentionLevels, EveryLevelPasses) {
  for (const std::string& level : cpu::level_names()) {
    if (level == cpu::isa().name) continue;
    const std::string command =
        "GTEST_OUTPUT= R1_ISA=" + level + " /proc/" + std::to_string(::getpid()) +
        "/exe --gtest_filter='Attention.*:AttentionCache.*' --gtest_brief=1 > /dev/null 2>&1";
    EXPECT_EQ(std::system(command.c_str()), 0) << "level " << level;
  }
}

}  // namespace
}  // namespace r1
