// Elementwise kernels. All run through map(), whose tail goes through the very same machine code
// on a padded vector: an element's bits depend neither on its place nor on the array's length.
#pragma once

#include "tensor/cpu/isa/math.h"
#include "tensor/cpu/isa/rows.h"

namespace r1::cpu::R1_LEVEL {

// f(in, out) on every vector; n is a multiple of the lanes. Never inlined, so that there is one
// copy of f's code and with it one choice of fused operations.
template <class T, int kIn, int kOut, class F>
__attribute__((noinline)) void map_vectors(int64_t n, const T* const (&in)[kIn],
                                           T* const (&out)[kOut], F f) {
  const T* x[kIn];
  T* y[kOut];
  for (int k = 0; k < kIn; ++k) x[k] = in[k];
  for (int k = 0; k < kOut; ++k) y[k] = out[k];
  for (int64_t i = 0; i < n; i += kLanes<T>) {
    Vec<T> a[kIn], r[kOut];
    for (int k = 0; k < kIn; ++k) a[k] = load(x[k] + i);
    f(a, r);
    for (int k = 0; k < kOut; ++k) store<T>(y[k] + i, r[k]);
  }
}

template <class T, int kIn, int kOut, class F>
inline void map(int64_t n, const T* const (&in)[kIn], T* const (&out)[kOut], F f) {
  const int64_t whole = n - n % kLanes<T>;
  if (whole > 0) map_vectors<T>(whole, in, out, f);
  if (whole == n) return;
  T padded_in[kIn][kLanes<T>] = {}, padded_out[kOut][kLanes<T>];
  const T* x[kIn];
  T* y[kOut];
  for (int k = 0; k < kIn; ++k) {
    for (int64_t i = whole; i < n; ++i) padded_in[k][i - whole] = in[k][i];
    x[k] = padded_in[k];
  }
  for (int k = 0; k < kOut; ++k) y[k] = padded_out[k];
  map_vectors<T>(kLanes<T>, x, y, f);
  for (int k = 0; k < kOut; ++k)
    for (int64_t i = whole; i < n; ++i) out[k][i] = padded_out[k][i - whole];
}

template <class T>
struct Elementwise {
  using V = Vec<T>;

  template <class F>
  static void map1(int64_t n, const T* x, T* y, F f) {
    map<T, 1, 1>(n, {x}, {y}, [f](const V* a, V* r) { r[0] = f(a[0]); });
  }
  template <class F>
  static void map2(int64_t n, const T* x1, const T* x2, T* y, F f) {
    map<T, 2, 1>(n, {x1, x2}, {y}, [f](const V* a, V* r) { r[0] = f(a[0], a[1]); });
  }

  static void exp(int64_t n, const T* x, T* y) {
    map1(n, x, y, [](V a) { return exp_lanes<T>(a); });
  }
  static void log(int64_t n, const T* x, T* y) {
    map1(n, x, y, [](V a) { return log_lanes<T>(a); });
  }
  // log sigmoid(x) = min(x, 0) - log(1 + exp(-|x|))
  static void log_sigmoid(int64_t n, const T* x, T* y) {
    map1(n, x, y, [](V a) {
      const V low = a > T(0) ? V{} : a, minus_abs = a > T(0) ? -a : a;
      return low - log1p_lanes<T>(exp_lanes<T>(minus_abs));
    });
  }
  static void square(int64_t n, const T* x, T* y) {
    map1(n, x, y, [](V a) { return a * a; });
  }
  static void negate(int64_t n, const T* x, T* y) {
    map1(n, x, y, [](V a) { return -a; });
  }

  static void add(int64_t n, const T* a, const T* b, T* y) {
    map2(n, a, b, y, [](V p, V q) { return p + q; });
  }
  static void subtract(int64_t n, const T* a, const T* b, T* y) {
    map2(n, a, b, y, [](V p, V q) { return p - q; });
  }
  static void multiply(int64_t n, const T* a, const T* b, T* y) {
    map2(n, a, b, y, [](V p, V q) { return p * q; });
  }
  static void divide(int64_t n, const T* a, const T* b, T* y) {
    map2(n, a, b, y, [](V p, V q) { return p / q; });
  }
  // A NaN on either side gives NaN.
  static void minimum(int64_t n, const T* a, const T* b, T* y) {
    map2(n, a, b, y, [](V p, V q) {
      const V r = p < q ? p : q;
      return p == p ? r : p;
    });
  }
  static void maximum(int64_t n, const T* a, const T* b, T* y) {
    map2(n, a, b, y, [](V p, V q) {
      const V r = p > q ? p : q;
      return p == p ? r : p;
    });
  }

  static void affine(int64_t n, const T* x, T scale, T shift, T* y) {
    map1(n, x, y, [scale, shift](V a) { return a * scale + shift; });
  }
  static void clamp(int64_t n, const T* x, T low, T high, T* y) {
    map1(n, x, y, [low, high](V a) { return clamp_lanes<T>(a, low, high); });
  }
  static void clamp_backward(int64_t n, const T* dy, const T* x, T low, T high, T* dx) {
    map<T, 3, 1>(n, {dy, x, dx}, {dx}, [low, high](const V* a, V* r) {
      const V kept = a[1] < low ? V{} : a[0];
      r[0] = a[2] + (a[1] <= high ? kept : V{});
    });
  }
  static void axpy(int64_t n, T alpha, const T* x, T* y) {
    map2(n, x, y, y, [alpha](V a, V b) { return a * alpha + b; });
  }

  static void exp_scaled(int64_t n, const T* x, T scale, T shift, T factor, T* y) {
    map1(n, x, y, [=](V a) { return exp_lanes<T>(a * scale - shift) * factor; });
  }

  static V sigmoid(V x) { return T(1) / (exp_lanes<T>(-x) + T(1)); }

  static void swiglu_forward(int64_t n, const T* gate, const T* up, T* y) {
    map2(n, gate, up, y, [](V g, V u) { return g * sigmoid(g) * u; });
  }
  // y = g s u with s = sigmoid(g), s' = s (1 - s). Hence dy/du = g s and
  // dy/dg = u (s + g s (1 - s)) = u s (1 + g (1 - s)).
  static void swiglu_backward(int64_t n, const T* dy, const T* gate, const T* up, T* dgate,
                              T* dup) {
    map<T, 3, 2>(n, {dy, gate, up}, {dgate, dup}, [](const V* a, V* r) {
      const V d = a[0], g = a[1], u = a[2], s = sigmoid(g);
      r[0] = d * u * s * (g * (T(1) - s) + T(1));
      r[1] = d * (g * s);
    });
  }

  static void adamw(int64_t n, const AdamwScalars<T>& scalars, const T* g, T* p, T* m, T* v) {
    const AdamwScalars<T> s = scalars;
    map<T, 4, 3>(n, {g, p, m, v}, {p, m, v}, [s](const V* a, V* r) {
      const V grad = a[0] * s.grad_scale;
      // beta1 m + (1 - beta1) g = m + (1 - beta1) (g - m)
      const V first = a[2] + (grad - a[2]) * s.one_minus_beta1;
      const V second = a[3] * s.beta2 + grad * grad * s.one_minus_beta2;
      const V denominator = sqrt_lanes<T>(second) * s.inv_sqrt_bias2 + s.eps;
      r[0] = a[1] * s.decay - s.step_size * first / denominator;
      r[1] = first;
      r[2] = second;
    });
  }
};

}  // namespace r1::cpu::R1_LEVEL
