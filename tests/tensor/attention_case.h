// What the attention tests run on: shapes, batches, random inputs, and bit-for-bit comparison.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "tensor/cpu/attention.h"
#include "tensor/random.h"
#include "tests/reference/attention.h"

namespace r1::attention_case {

using std::int64_t;
using Vector = std::vector<double>;

inline AttentionShape shape_of(int64_t heads, int64_t kv_heads, int64_t key_dim,
                               int64_t value_dim) {
  return {heads, kv_heads, key_dim, value_dim, 1 / std::sqrt(static_cast<double>(key_dim))};
}

inline Tensor normal(const Shape& shape, DType dtype, std::uint32_t stream) {
  const Random random(7, Purpose::test);
  Vector x(static_cast<std::size_t>(shape.numel()));
  for (std::size_t i = 0; i < x.size(); ++i)
    x[i] = static_cast<float>(random.normal(static_cast<std::uint32_t>(i), stream));
  return Tensor::from(x, shape).cast(dtype);
}

struct Inputs {
  Tensor q, k, v, dout;

  Inputs rows(int64_t begin, int64_t length) const {
    return {q.narrow(begin, length), k.narrow(begin, length), v.narrow(begin, length),
            dout.narrow(begin, length)};
  }
};

inline Inputs make_inputs(int64_t n, const AttentionShape& s, DType dtype) {
  return {normal({n, s.heads * s.key_dim}, dtype, 1), normal({n, s.kv_heads * s.key_dim}, dtype, 2),
          normal({n, s.kv_heads * s.value_dim}, dtype, 3),
          normal({n, s.heads * s.value_dim}, dtype, 4)};
}

struct Outputs {
  Tensor o, lse, dq, dk, dv;
};

// Outputs start as NaN, so that a number that is not written shows.
inline Tensor unset(const Shape& shape, DType dtype) {
  return Tensor::full(shape, std::numeric_limits<double>::quiet_NaN(), dtype);
}

inline Outputs run(const Inputs& in, const std::vector<Segment>& segments,
                   const AttentionShape& s) {
  const DType dtype = in.q.dtype();
  Outputs y{unset(in.dout.shape(), dtype), unset({s.heads, in.q.rows()}, dtype),
            unset(in.q.shape(), dtype), unset(in.k.shape(), dtype), unset(in.v.shape(), dtype)};
  cpu::attention_forward(in.q, in.k, in.v, segments, s, y.o, y.lse);
  cpu::attention_backward(in.dout, in.q, in.k, in.v, y.o, y.lse, segments, s, y.dq, y.dk, y.dv);
  return y;
}

inline double largest(const Vector& x) {
  double m = 0;
  for (double v : x) m = std::max(m, std::abs(v));
  return m;
}

// NaN counts as an infinite difference.
inline double difference(const Vector& a, const Vector& b) {
  EXPECT_EQ(a.size(), b.size());
  double m = 0;
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i)
    m = std::isnan(a[i] - b[i]) ? std::numeric_limits<double>::infinity()
                                : std::max(m, std::abs(a[i] - b[i]));
  return m;
}

inline void expect_same_bits(const Tensor& a, const Tensor& b, const char* what) {
  ASSERT_EQ(a.shape(), b.shape()) << what;
  EXPECT_EQ(std::memcmp(a.raw(), b.raw(), a.bytes()), 0)
      << what << " differs by " << difference(a.to_vector(), b.to_vector());
}

inline void expect_same_bits(const Outputs& a, const Outputs& b) {
  expect_same_bits(a.o, b.o, "o");
  expect_same_bits(a.lse, b.lse, "lse");
  expect_same_bits(a.dq, b.dq, "dq");
  expect_same_bits(a.dk, b.dk, "dk");
  expect_same_bits(a.dv, b.dv, "dv");
}

inline const std::vector<AttentionShape>& shapes() {
  static const std::vector<AttentionShape> all = {
      shape_of(1, 1, 16, 16),  shape_of(4, 4, 16, 16),  shape_of(9, 3, 64, 64),
      shape_of(4, 1, 20, 12),  shape_of(3, 1, 10, 24),  shape_of(8, 2, 12, 33),
      shape_of(2, 2, 1, 1),    shape_of(14, 2, 48, 32), shape_of(2, 1, 80, 130),
      shape_of(2, 2, 192, 128)};
  return all;
}

// Lengths below, at and above the sizes of tiles, panels and blocks; a prompt shared by two
// sequences, one of them not next to it; an order unlike that of the rows.
inline const std::vector<std::vector<Segment>>& batches() {
  static const std::vector<std::vector<Segment>> all = {
      {{0, 1, 0, 0}},
      {{0, 48, 0, 0}, {48, 1, 0, 0}, {49, 31, 0, 0}},
      {{0, 131, 0, 0}},
      {{100, 20, 0, 0}, {0, 64, 0, 0}, {64, 36, 0, 0}},
      {{0, 37, 0, 0}, {37, 9, 0, 37}, {46, 33, 0, 0}, {79, 50, 0, 37}, {129, 3, 46, 33}}};
  return all;
}

inline int64_t rows_of(const std::vector<Segment>& segments) {
  int64_t n = 0;
  for (const Segment& s : segments) n += s.length;
  return n;
}

inline int64_t most_keys(const std::vector<Segment>& segments) {
  int64_t n = 0;
  for (const Segment& s : segments) n = std::max(n, s.prefix_length + s.length);
  return n;
}

}  // namespace r1::attention_case
