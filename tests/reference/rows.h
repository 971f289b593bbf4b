// Naive references of the row-wise and elementwise kernels: the formulae, one loop each, in a
// type R wider than that of the kernel under test.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

namespace r1::reference {

template <class R>
using Row = std::vector<R>;

template <class R>
R sigmoid(R x) {
  return 1 / (1 + std::exp(-x));
}
template <class R>
R log_sigmoid(R x) {
  return x < 0 ? x - std::log1p(std::exp(x)) : -std::log1p(std::exp(-x));
}

template <class R>
R rstd(const Row<R>& x, R eps) {
  R squares = 0;
  for (R v : x) squares += v * v;
  return 1 / std::sqrt(squares / static_cast<R>(x.size()) + eps);
}

template <class R>
Row<R> rms_norm(const Row<R>& x, const Row<R>& w, R eps) {
  Row<R> y(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) y[i] = w[i] * x[i] * rstd(x, eps);
  return y;
}

// d loss / d x by the Jacobian of y: J_ij = dy_i / dx_j, entry by entry.
template <class R>
Row<R> rms_norm_gradient(const Row<R>& dy, const Row<R>& x, const Row<R>& w, R eps) {
  const R r = rstd(x, eps), n = static_cast<R>(x.size());
  Row<R> dx(x.size());
  for (std::size_t j = 0; j < x.size(); ++j)
    for (std::size_t i = 0; i < x.size(); ++i)
      dx[j] += dy[i] * w[i] * ((i == j ? r : R(0)) - x[i] * x[j] * r * r * r / n);
  return dx;
}

// One head: the complex numbers x_i + i x_(i + half) times exp(i angle).
template <class R>
Row<R> rope(const Row<R>& x, const Row<R>& cos, const Row<R>& sin, bool inverse) {
  const std::size_t half = cos.size();
  Row<R> y(x.size());
  for (std::size_t h = 0; h < x.size(); h += 2 * half) {
    for (std::size_t i = 0; i < half; ++i) {
      const R s = inverse ? -sin[i] : sin[i];
      y[h + i] = x[h + i] * cos[i] - x[h + half + i] * s;
      y[h + half + i] = x[h + half + i] * cos[i] + x[h + i] * s;
    }
  }
  return y;
}

template <class R>
R log_sum_exp(const Row<R>& z) {
  R top = *std::max_element(z.begin(), z.end()), total = 0;
  for (R v : z) total += std::exp(v - top);
  return top + std::log(total);
}

template <class R>
Row<R> log_softmax(const Row<R>& logits, R temperature) {
  Row<R> z = logits;
  for (R& v : z) v /= temperature;
  const R lse = log_sum_exp(z);
  for (R& v : z) v -= lse;
  return z;
}

template <class R>
R entropy(const Row<R>& log_p) {
  R h = 0;
  for (R v : log_p)
    if (std::exp(v) > 0) h -= std::exp(v) * v;
  return h;
}

// Probabilities after temperature, top_k, top_p and min_p, each renormalised, by full sorts.
// Columns that tie with the k-th stay; ties at the border of top_p go to the lower index.
template <class R>
Row<R> truncated(const Row<R>& logits, R temperature, std::size_t top_k, R top_p, R min_p) {
  const std::size_t n = logits.size();
  Row<R> p = log_softmax(logits, temperature);
  for (R& v : p) v = std::exp(v);
  const auto renormalise = [&] {
    const R total = std::accumulate(p.begin(), p.end(), R(0));
    for (R& v : p) v /= total;
  };
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return logits[a] > logits[b]; });
  if (top_k > 0 && top_k < n) {
    for (std::size_t i = top_k; i < n; ++i)
      if (logits[order[i]] < logits[order[top_k - 1]]) p[order[i]] = 0;
    renormalise();
  }
  if (top_p < 1) {
    R before = 0;
    for (std::size_t i : order) {
      const R own = p[i];
      if (before >= top_p) p[i] = 0;
      before += own;
    }
    renormalise();
  }
  const R top = *std::max_element(p.begin(), p.end());
  for (R& v : p)
    if (v < min_p * top) v = 0;
  renormalise();
  return p;
}

// torch.optim.AdamW as its documentation writes it.
template <class R>
struct Adamw {
  R lr, beta1, beta2, eps, weight_decay, grad_scale = 1;

  void step(std::int64_t t, R g, R& p, R& m, R& v) const {
    g *= grad_scale;
    p -= lr * weight_decay * p;
    m = beta1 * m + (1 - beta1) * g;
    v = beta2 * v + (1 - beta2) * g * g;
    const R m_hat = m / (1 - std::pow(beta1, static_cast<R>(t)));
    const R v_hat = v / (1 - std::pow(beta2, static_cast<R>(t)));
    p -= lr * m_hat / (std::sqrt(v_hat) + eps);
  }
};

}  // namespace r1::reference
