// Exponential, logarithm and square root of a vector, lane by lane: a lane's result depends on that
// lane alone. f32 within 1.1 ulp (log1p: 1.3), correct for infinities, NaN, denormals and overflow;
// f64 is the C library's function on each lane.
#pragma once

#include "tensor/cpu/isa/vec.h"

namespace r1::cpu::R1_LEVEL {

template <class T>
using Mask = typename VecOf<T>::mask;

// NaN in x stays NaN.
template <class T>
inline Vec<T> clamp_lanes(Vec<T> x, T low, T high) {
  const Vec<T> lo = splat<T>(low), hi = splat<T>(high);
  x = x < lo ? lo : x;
  return x > hi ? hi : x;
}

template <class T>
inline Vec<T> max_lanes(Vec<T> a, Vec<T> b) {
  return a > b ? a : b;
}

inline Vec<float> exp_f32(Vec<float> x) {
  using V = Vec<float>;
  using I = Mask<float>;
  // exp(-104) rounds to 0 and exp(104) to infinity.
  x = clamp_lanes<float>(x, -104.0f, 104.0f);
  // exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln(2) / 2. Adding 1.5 * 2^23 rounds to an
  // integer and leaves it in the low bits; ln 2 is split so that n times its upper part is exact.
  const V magic = splat(12582912.0f);
  const V t = x * 1.44269504f + magic;
  const V n = t - magic;
  const I k = reinterpret_cast<I>(t) - reinterpret_cast<I>(magic);
  const V r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  // exp(r) = 1 + r + r^2 q(r), q a minimax polynomial, relative error 2^-28.
  V q = splat(0.0013814171543344855f);
  q = q * r + 0.008368922397494316f;
  q = q * r + 0.04166840761899948f;
  q = q * r + 0.1666651964187622f;
  q = q * r + 0.4999999403953552f;
  const V p = ((q * r) * r + r) + 1.0f;
  // 2^k in two factors: neither leaves the normal range, so only the last product rounds.
  const I half = k >> 1;
  const V s1 = reinterpret_cast<V>((half + 127) << 23);
  const V s2 = reinterpret_cast<V>((k - half + 127) << 23);
  return (p * s1) * s2;
}

inline Vec<float> log_f32(Vec<float> x) {
  using V = Vec<float>;
  using I = Mask<float>;
  const I tiny = x < splat(1.17549435e-38f);
  const V y = tiny ? x * 8388608.0f : x;
  // y = 2^e m with m in [sqrt(1/2), sqrt(2)); f = m - 1 is exact.
  const I bits = reinterpret_cast<I>(y) & 0x7fffffff;
  const I k = (bits - 0x3f3504f3) >> 23;
  const V m = reinterpret_cast<V>(bits - (k << 23));
  const V e = __builtin_convertvector(k, V) - (tiny ? splat(23.0f) : splat(0.0f));
  const V f = m - 1.0f;
  // log(1 + f) = f - f^2 / 2 + f^3 p(f), p a minimax polynomial, relative error 2^-30.
  V p = splat(0.06757530570030212f);
  p = p * f - 0.11694324761629105f;
  p = p * f + 0.1189352497458458f;
  p = p * f - 0.12403086572885513f;
  p = p * f + 0.1421855241060257f;
  p = p * f - 0.16668090224266052f;
  p = p * f + 0.2000216692686081f;
  p = p * f - 0.25000008940696716f;
  p = p * f + 0.3333331048488617f;
  const V f2 = f * f;
  const V small = (p * f) * f2 + e * -2.12194440e-4f;
  V r = e * 0.693359375f + (f + (small - 0.5f * f2));
  const V infinity = splat(__builtin_inff());
  r = y == infinity ? infinity : r;
  r = x == splat(0.0f) ? -infinity : r;
  // Below 0, and for NaN, no comparison with 0 holds.
  return x >= splat(0.0f) ? r : splat(__builtin_nanf(""));
}

template <class T>
inline Vec<T> exp_lanes(Vec<T> x) {
  if constexpr (sizeof(T) == sizeof(float)) {
    return exp_f32(x);
  } else {
    for (int i = 0; i < kLanes<T>; ++i) x[i] = __builtin_exp(x[i]);
    return x;
  }
}

template <class T>
inline Vec<T> log_lanes(Vec<T> x) {
  if constexpr (sizeof(T) == sizeof(float)) {
    return log_f32(x);
  } else {
    for (int i = 0; i < kLanes<T>; ++i) x[i] = __builtin_log(x[i]);
    return x;
  }
}

// log(1 + x) for x in [0, 1], accurate near 0: log(u) with u = 1 + x rounded, and a first-order
// correction for what the rounding lost.
template <class T>
inline Vec<T> log1p_lanes(Vec<T> x) {
  const Vec<T> u = x + T(1);
  return log_lanes<T>(u) + (x - (u - T(1))) / u;
}

template <class T>
inline Vec<T> sqrt_lanes(Vec<T> x) {
  T t[kLanes<T>];
  store<T>(t, x);
  for (int i = 0; i < kLanes<T>; ++i) {
    if constexpr (sizeof(T) == sizeof(float)) t[i] = __builtin_sqrtf(t[i]);
    else t[i] = __builtin_sqrt(t[i]);
  }
  return load<T>(t);
}

}  // namespace r1::cpu::R1_LEVEL
