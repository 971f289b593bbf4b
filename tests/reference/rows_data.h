// Random rows and comparisons for the tests of row-wise kernels.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "tensor/cpu/levels.h"
#include "tensor/tensor.h"

namespace r1::testing {

// The wider type in which the reference of a kernel of T is computed.
template <class T>
using Wide = std::conditional_t<sizeof(T) == 4, double, long double>;

template <class T>
std::vector<T> random_numbers(std::size_t n, unsigned seed, double low = -2, double high = 2) {
  std::mt19937_64 engine(seed);
  std::uniform_real_distribution<double> uniform(low, high);
  std::vector<T> x(n);
  for (T& v : x) v = static_cast<T>(uniform(engine));
  return x;
}

template <class T>
std::vector<Wide<T>> wide(const std::vector<T>& x) {
  return {x.begin(), x.end()};
}

template <class T>
Tensor tensor(const std::vector<T>& x, const Shape& shape) {
  return Tensor::from(std::span<const T>(x), shape);
}
template <class T>
Tensor tensor(const std::vector<T>& x) {
  return tensor(x, {static_cast<std::int64_t>(x.size())});
}
template <class T>
std::vector<T> numbers(const Tensor& t) {
  const T* p = t.data<T>();
  return {p, p + t.numel()};
}

// |got - want| <= ulps eps (|want| + scale), eps the rounding unit of T.
template <class T, class R>
void expect_close(T got, R want, double ulps, double scale, const std::string& where) {
  const R eps = static_cast<R>(std::numeric_limits<T>::epsilon()) / 2;
  const R bound = static_cast<R>(ulps) * eps * (std::abs(want) + static_cast<R>(scale));
  EXPECT_LE(std::abs(static_cast<R>(got) - want), bound)
      << where << ": got " << got << ", want " << static_cast<double>(want);
}
template <class T, class R>
void expect_close(const std::vector<T>& got, const std::vector<R>& want, double ulps, double scale,
                  const std::string& where) {
  ASSERT_EQ(got.size(), want.size()) << where;
  for (std::size_t i = 0; i < got.size(); ++i)
    expect_close(got[i], want[i], ulps, scale, where + "[" + std::to_string(i) + "]");
}

// Equal to the bit, NaN included.
template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

// f.operator()<T>(rows, name) for the tables of every level and both types.
template <class F>
void for_each_level(F&& f) {
  for (const std::string& name : cpu::level_names()) {
    f.template operator()<float>(cpu::level(name).f32.rows, name + " f32");
    f.template operator()<double>(cpu::level(name).f64.rows, name + " f64");
  }
}

// Sizes around the widths of vectors and of unrolled loops.
inline const std::vector<std::size_t> kSizes = {1,  2,  3,  5,  7,  8,  9,   15,  16,  17,
                                                31, 32, 33, 63, 64, 65, 100, 127, 129, 1000};

}  // namespace r1::testing
