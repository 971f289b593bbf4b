// Causal attention over packed segments, written as its definition: what tests compare with.
// T may be std::complex<double>, for derivatives by a complex step. Scores must be moderate: the
// softmax does not subtract the largest one.
#pragma once

#include <cmath>
#include <complex>
#include <cstdint>
#include <span>
#include <vector>

#include "tensor/kernels.h"

namespace r1::reference {

template <class T>
struct Attention {
  std::vector<T> o;    // (N, H*dv)
  std::vector<T> lse;  // (H, N)
};

template <class T>
struct AttentionGradient {
  std::vector<T> dq, dk, dv;
};

// Rows of k and v that row i of a segment sees, in order.
inline std::vector<std::size_t> visible_keys(const Segment& s, std::int64_t i) {
  std::vector<std::size_t> keys;
  for (std::int64_t j = 0; j < s.prefix_length; ++j)
    keys.push_back(static_cast<std::size_t>(s.prefix_begin + j));
  for (std::int64_t j = 0; j <= i; ++j) keys.push_back(static_cast<std::size_t>(s.begin + j));
  return keys;
}

// Calls f(n, h, g, keys) for every query row n, query head h and its key/value head g.
template <class F>
void for_each_query(std::span<const Segment> segments, const AttentionShape& s, F&& f) {
  for (const Segment& segment : segments)
    for (std::int64_t i = 0; i < segment.length; ++i)
      for (std::int64_t h = 0; h < s.heads; ++h)
        f(static_cast<std::size_t>(segment.begin + i), static_cast<std::size_t>(h),
          static_cast<std::size_t>(h * s.kv_heads / s.heads), visible_keys(segment, i));
}

template <class T>
Attention<T> attention(const std::vector<T>& q, const std::vector<T>& k, const std::vector<T>& v,
                       std::span<const Segment> segments, const AttentionShape& s) {
  using std::exp, std::log;
  const auto H = static_cast<std::size_t>(s.heads), G = static_cast<std::size_t>(s.kv_heads);
  const auto dk = static_cast<std::size_t>(s.key_dim), dv = static_cast<std::size_t>(s.value_dim);
  const std::size_t N = q.size() / (H * dk);
  Attention<T> y{std::vector<T>(N * H * dv), std::vector<T>(H * N)};
  for_each_query(segments, s, [&](std::size_t n, std::size_t h, std::size_t g, const auto& keys) {
    T sum = 0;
    for (std::size_t j : keys) {
      T score = 0;
      for (std::size_t d = 0; d < dk; ++d)
        score += q[(n * H + h) * dk + d] * k[(j * G + g) * dk + d];
      const T weight = exp(s.scale * score);
      sum += weight;
      for (std::size_t c = 0; c < dv; ++c)
        y.o[(n * H + h) * dv + c] += weight * v[(j * G + g) * dv + c];
    }
    for (std::size_t c = 0; c < dv; ++c) y.o[(n * H + h) * dv + c] /= sum;
    y.lse[h * N + n] = log(sum);
  });
  return y;
}

// Gradient of sum(dout * o).
template <class T>
AttentionGradient<T> attention_gradient(const std::vector<T>& dout, const std::vector<T>& q,
                                        const std::vector<T>& k, const std::vector<T>& v,
                                        std::span<const Segment> segments,
                                        const AttentionShape& s) {
  const auto H = static_cast<std::size_t>(s.heads), G = static_cast<std::size_t>(s.kv_heads);
  const auto dk = static_cast<std::size_t>(s.key_dim), dv = static_cast<std::size_t>(s.value_dim);
  AttentionGradient<T> y{std::vector<T>(q.size()), std::vector<T>(k.size()),
                         std::vector<T>(v.size())};
  for_each_query(segments, s, [&](std::size_t n, std::size_t h, std::size_t g, const auto& keys) {
    const T* query = &q[(n * H + h) * dk];
    const T* cotangent = &dout[(n * H + h) * dv];
    std::vector<T> weight(keys.size()), dweight(keys.size());
    T sum = 0, mean = 0;
    for (std::size_t j = 0; j < keys.size(); ++j) {
      T score = 0;
      for (std::size_t d = 0; d < dk; ++d) score += query[d] * k[(keys[j] * G + g) * dk + d];
      weight[j] = std::exp(s.scale * score);
      sum += weight[j];
    }
    for (std::size_t j = 0; j < keys.size(); ++j) {
      weight[j] /= sum;
      for (std::size_t c = 0; c < dv; ++c) {
        dweight[j] += cotangent[c] * v[(keys[j] * G + g) * dv + c];
        y.dv[(keys[j] * G + g) * dv + c] += weight[j] * cotangent[c];
      }
      mean += weight[j] * dweight[j];
    }
    for (std::size_t j = 0; j < keys.size(); ++j) {
      const T dscore = s.scale * weight[j] * (dweight[j] - mean);
      for (std::size_t d = 0; d < dk; ++d) {
        y.dq[(n * H + h) * dk + d] += dscore * k[(keys[j] * G + g) * dk + d];
        y.dk[(keys[j] * G + g) * dk + d] += dscore * query[d];
      }
    }
  });
  return y;
}

}  // namespace r1::reference
