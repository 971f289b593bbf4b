// Sums along rows and columns, and the row kernels built on them.
#pragma once

#include "tensor/cpu/isa/math.h"
#include "tensor/cpu/isa/rows.h"

namespace r1::cpu::R1_LEVEL {

// A whole vector, or its first `count` lanes and 0.
template <class T>
inline Vec<T> load_some(const T* p, int64_t count) {
  return count >= kLanes<T> ? load(p) : load_part(p, static_cast<int>(count));
}
template <class T>
inline void store_some(T* p, Vec<T> v, int64_t count) {
  if (count >= kLanes<T>) store<T>(p, v);
  else store_part<T>(p, v, static_cast<int>(count));
}

// kLanes<double> numbers as doubles.
inline Vec<double> load_double(const double* p) { return load(p); }
inline Vec<double> load_double(const float* p) {
  typedef float Half __attribute__((vector_size(kVectorBytes / 2), aligned(4), may_alias));
  return __builtin_convertvector(*reinterpret_cast<const Half*>(p), Vec<double>);
}

// Sum over i in [0, n) of a term: step(i, count, acc) adds the terms of the columns i .. i + count
// of one vector of kStep columns to a lane accumulator. Column i always meets the same lane.
template <class T, int kStep, class F>
inline T sum_terms(int64_t n, F step) {
  constexpr int kChains = 4;
  Vec<T> acc[kChains] = {};
  int64_t i = 0;
  for (; i + kChains * kStep <= n; i += kChains * kStep)
    for (int j = 0; j < kChains; ++j) acc[j] = step(i + j * kStep, int64_t{kStep}, acc[j]);
  for (int j = 0; i < n; i += kStep, ++j) acc[j] = step(i, n - i, acc[j]);
  return sum_lanes<T>((acc[0] + acc[1]) + (acc[2] + acc[3]));
}

template <class T>
struct Reduce {
  using V = Vec<T>;
  static constexpr int kL = kLanes<T>;

  // In f64 lanes whatever T is.
  template <class F>
  static double sum_double(int64_t n, const T* x, F term) {
    constexpr int kD = kLanes<double>;
    return sum_terms<double, kD>(n, [&](int64_t i, int64_t count, Vec<double> acc) {
      if (count >= kD) return term(load_double(x + i), acc);
      Vec<double> v = {};
      for (int k = 0; k < static_cast<int>(count); ++k) v[k] = static_cast<double>(x[i + k]);
      return term(v, acc);
    });
  }
  static double sum(int64_t n, const T* x) {
    return sum_double(n, x, [](Vec<double> v, Vec<double> acc) { return acc + v; });
  }
  static double sum_of_squares(int64_t n, const T* x) {
    return sum_double(n, x, [](Vec<double> v, Vec<double> acc) { return v * v + acc; });
  }

  // y[c] = (... (y[c] + term(0, c)) + ... ) + term(rows - 1, c) for kVecs vectors of columns.
  template <int kVecs, class F>
  static void chain(int64_t rows, int64_t count, T* y, F step) {
    V acc[kVecs];
    for (int j = 0; j < kVecs; ++j) acc[j] = load_some(y + j * kL, count);
    for (int64_t r = 0; r < rows; ++r)
      for (int j = 0; j < kVecs; ++j) acc[j] = step(r, j * kL, count, acc[j]);
    for (int j = 0; j < kVecs; ++j) store_some<T>(y + j * kL, acc[j], count);
  }
  template <class F>
  static void chains(int64_t rows, int64_t cols, T* y, F step) {
    int64_t c = 0;
    const auto at = [&](int64_t begin) {
      return [&step, begin](int64_t r, int64_t offset, int64_t count, V acc) {
        return step(r, begin + offset, count, acc);
      };
    };
    for (; c + 8 * kL <= cols; c += 8 * kL) chain<8>(rows, kL, y + c, at(c));
    for (; c + 2 * kL <= cols; c += 2 * kL) chain<2>(rows, kL, y + c, at(c));
    for (; c + kL <= cols; c += kL) chain<1>(rows, kL, y + c, at(c));
    if (c < cols) chain<1>(rows, cols - c, y + c, at(c));
  }
  static void add_columns(int64_t rows, int64_t cols, int64_t stride, const T* x, T* y) {
    chains(rows, cols, y, [=](int64_t r, int64_t c, int64_t count, V acc) {
      return acc + load_some(x + r * stride + c, count);
    });
  }
  static void norm_weight_gradient(int64_t rows, int64_t cols, int64_t stride, const T* dy,
                                   const T* x, const T* rstd, T* dw) {
    chains(rows, cols, dw, [=](int64_t r, int64_t c, int64_t count, V acc) {
      const int64_t i = r * stride + c;
      return load_some(dy + i, count) * (load_some(x + i, count) * rstd[r]) + acc;
    });
  }

  static T rms_norm_forward(int64_t n, const T* x, const T* w, double eps, T* y) {
    const T squares = sum_terms<T, kL>(n, [&](int64_t i, int64_t count, V acc) {
      const V v = load_some(x + i, count);
      return v * v + acc;
    });
    const double mean = static_cast<double>(squares) / static_cast<double>(n);
    const T rstd = static_cast<T>(1.0 / __builtin_sqrt(mean + eps));
    for (int64_t i = 0; i < n; i += kL) {
      const V xhat = load_some(x + i, n - i) * rstd;
      store_some<T>(y + i, load_some(w + i, n - i) * xhat, n - i);
    }
    return rstd;
  }

  // y_i = w_i x_i r, r = (mean(x^2) + eps)^(-1/2), so dr/dx_j = -r^3 x_j / n and
  // dx_j = w_j dy_j r + sum_i dy_i w_i x_i (-r^3 x_j / n)
  //      = r (w_j dy_j - x_j r^2 / n sum_i w_i dy_i x_i).
  static void rms_norm_backward(int64_t n, const T* dy, const T* x, const T* w, T rstd, T* dx) {
    const T dot = sum_terms<T, kL>(n, [&](int64_t i, int64_t count, V acc) {
      return load_some(dy + i, count) * load_some(w + i, count) * load_some(x + i, count) + acc;
    });
    const T c = static_cast<T>(static_cast<double>(dot) * static_cast<double>(rstd) *
                               static_cast<double>(rstd) / static_cast<double>(n));
    for (int64_t i = 0; i < n; i += kL) {
      const V wdy = load_some(w + i, n - i) * load_some(dy + i, n - i);
      const V d = wdy - load_some(x + i, n - i) * c;
      store_some<T>(dx + i, d * rstd + load_some(dx + i, n - i), n - i);
    }
  }

  // (x1, x2) turned by the angle: y1 = x1 cos - x2 sin, y2 = x2 cos + x1 sin.
  static void rope(int64_t heads, int64_t half, const T* x, const T* cos, const T* sin, T sign,
                   T* y) {
    for (int64_t h = 0; h < heads; ++h, x += 2 * half, y += 2 * half) {
      for (int64_t i = 0; i < half; i += kL) {
        const int64_t count = half - i;
        const V c = load_some(cos + i, count), s = load_some(sin + i, count) * sign;
        const V x1 = load_some(x + i, count), x2 = load_some(x + half + i, count);
        store_some<T>(y + i, x1 * c - x2 * s, count);
        store_some<T>(y + half + i, x2 * c + x1 * s, count);
      }
    }
  }

  static T max(int64_t n, const T* x) {
    constexpr int kChains = 4;
    const T lowest = -static_cast<T>(__builtin_inf());
    V acc[kChains];
    for (int j = 0; j < kChains; ++j) acc[j] = splat<T>(lowest);
    int64_t i = 0;
    for (; i + kChains * kL <= n; i += kChains * kL)
      for (int j = 0; j < kChains; ++j) acc[j] = max_lanes<T>(load(x + i + j * kL), acc[j]);
    const V v = max_lanes<T>(max_lanes<T>(acc[0], acc[1]), max_lanes<T>(acc[2], acc[3]));
    T best = lowest;
    for (int j = 0; j < kL; ++j) best = v[j] > best ? v[j] : best;
    for (; i < n; ++i) best = x[i] > best ? x[i] : best;
    return best;
  }

  // exp(d) is 0 below this, and 0 d is 0 there even where a logit is -infinity.
  static constexpr T kLowest = sizeof(T) == sizeof(float) ? T(-104) : T(-746);

  static ExpSums sum_exp(int64_t n, const T* x, T scale, T shift, bool want_ed) {
    ExpSums sums;
    V ed[4] = {};
    const auto d_at = [&](int64_t i, int64_t count) {
      const V v = count >= kL
                      ? load(x + i)
                      : load_part(x + i, static_cast<int>(count), -static_cast<T>(__builtin_inf()));
      return v * scale - shift;
    };
    if (!want_ed) {
      sums.e = static_cast<double>(sum_terms<T, kL>(
          n, [&](int64_t i, int64_t count, V acc) { return acc + exp_lanes<T>(d_at(i, count)); }));
      return sums;
    }
    sums.e = static_cast<double>(sum_terms<T, kL>(n, [&](int64_t i, int64_t count, V acc) {
      const V d = d_at(i, count), low = splat<T>(kLowest);
      const V bounded = d < low ? low : d;
      const V e = exp_lanes<T>(bounded);
      V& chain_ed = ed[(i / kL) % 4];
      chain_ed = e * bounded + chain_ed;
      return acc + e;
    }));
    sums.ed = static_cast<double>(sum_lanes<T>((ed[0] + ed[1]) + (ed[2] + ed[3])));
    return sums;
  }
};

}  // namespace r1::cpu::R1_LEVEL
