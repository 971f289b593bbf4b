// The differentiable operations as their definitions, one naive loop each, for a scalar T: double
// for values, std::complex<double> for exact derivatives by a complex step, Sized for the size of
// rounding errors. Arrays are flat, row-major. Attention is in attention.h.
#pragma once

#include <cmath>
#include <complex>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "tests/reference/sized.h"

namespace r1::reference {

using Ids = std::vector<std::int32_t>;

inline double real_part(double x) { return x; }
inline double real_part(const std::complex<double>& x) { return x.real(); }
inline double real_part(const Sized& x) { return x.value; }

// f of every element, or of every pair of elements.
template <class T, class F>
std::vector<T> map(const std::vector<T>& a, F f) {
  std::vector<T> y;
  for (const T& x : a) y.push_back(f(x));
  return y;
}
template <class T, class F>
std::vector<T> map(const std::vector<T>& a, const std::vector<T>& b, F f) {
  std::vector<T> y;
  for (std::size_t i = 0; i < a.size(); ++i) y.push_back(f(a[i], b[i]));
  return y;
}

template <class T>
T smaller(const T& a, const T& b) {
  return real_part(a) <= real_part(b) ? a : b;
}
template <class T>
T larger(const T& a, const T& b) {
  return real_part(a) >= real_part(b) ? a : b;
}
template <class T>
T clamped(const T& x, double low, double high) {
  if (real_part(x) < low) return T(low);
  return real_part(x) > high ? T(high) : x;
}
template <class T>
T log_logistic(const T& x) {
  using std::exp, std::log;
  return -log(T(1) + exp(-x));
}
template <class T>
T gated(const T& gate, const T& up) {
  using std::exp;
  return gate / (T(1) + exp(-gate)) * up;
}

template <class T>
std::vector<T> sum(const std::vector<T>& x) {
  T total = 0;
  for (const T& v : x) total += v;
  return {total};
}

template <class T>
std::vector<T> take_rows(const std::vector<T>& x, const Ids& ids, std::size_t D) {
  std::vector<T> y;
  for (const std::int32_t id : ids)
    for (std::size_t d = 0; d < D; ++d) y.push_back(x[static_cast<std::size_t>(id) * D + d]);
  return y;
}

// x (N, K) w (M, K)^T + bias (M); an empty bias is none.
template <class T>
std::vector<T> linear(const std::vector<T>& x, const std::vector<T>& w, const std::vector<T>& bias,
                      std::size_t K, std::size_t M) {
  std::vector<T> y;
  for (std::size_t n = 0; n * K < x.size(); ++n) {
    for (std::size_t m = 0; m < M; ++m) {
      T dot = bias.empty() ? T(0) : bias[m];
      for (std::size_t k = 0; k < K; ++k) dot += x[n * K + k] * w[m * K + k];
      y.push_back(dot);
    }
  }
  return y;
}

template <class T>
std::vector<T> rms_norm(const std::vector<T>& x, const std::vector<T>& w, double eps) {
  using std::sqrt;
  const std::size_t D = w.size();
  std::vector<T> y;
  for (std::size_t begin = 0; begin < x.size(); begin += D) {
    T squares = 0;
    for (std::size_t d = 0; d < D; ++d) squares += x[begin + d] * x[begin + d];
    const T root = sqrt(squares / T(static_cast<double>(D)) + T(eps));
    for (std::size_t d = 0; d < D; ++d) y.push_back(w[d] * x[begin + d] / root);
  }
  return y;
}

// Dimensions i and i + half of every head turn by the angle of (position, i).
template <class T>
std::vector<T> rope(const std::vector<T>& x, const Ids& positions, const std::vector<T>& cos,
                    const std::vector<T>& sin, std::size_t heads, std::size_t half) {
  std::vector<T> y(x.size());
  for (std::size_t n = 0; n < positions.size(); ++n) {
    const std::size_t angles = static_cast<std::size_t>(positions[n]) * half;
    for (std::size_t h = 0; h < heads; ++h) {
      const std::size_t head = (n * heads + h) * 2 * half;
      for (std::size_t i = 0; i < half; ++i) {
        const T a = x[head + i], b = x[head + half + i];
        const T c = cos[angles + i], s = sin[angles + i];
        y[head + i] = a * c - b * s;
        y[head + half + i] = a * s + b * c;
      }
    }
  }
  return y;
}

// log softmax(logits / temperature)[target], row by row; logits of moderate size.
template <class T>
std::vector<T> logprob(const std::vector<T>& logits, const Ids& targets, std::size_t V,
                       double temperature) {
  using std::exp, std::log;
  std::vector<T> y;
  for (std::size_t n = 0; n < targets.size(); ++n) {
    T total = 0;
    for (std::size_t v = 0; v < V; ++v) total += exp(logits[n * V + v] / T(temperature));
    const auto target = static_cast<std::size_t>(targets[n]);
    y.push_back(logits[n * V + target] / T(temperature) - log(total));
  }
  return y;
}

// -sum p log p of the same distribution.
inline std::vector<double> entropy(const std::vector<double>& logits, std::size_t V,
                                   double temperature) {
  std::vector<double> y(logits.size() / V, 0.0);
  for (std::size_t n = 0; n < y.size(); ++n) {
    for (std::size_t v = 0; v < V; ++v) {
      const std::vector<double> row(&logits[n * V], &logits[n * V] + V);
      const double log_p = logprob(row, {static_cast<std::int32_t>(v)}, V, temperature)[0];
      y[n] -= std::exp(log_p) * log_p;
    }
  }
  return y;
}

}  // namespace r1::reference
