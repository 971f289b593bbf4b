#include "nn/attention.h"

#include <cmath>

namespace r1::nn {
namespace {

Parameter* optional(Parameter& p) { return p.defined() ? &p : nullptr; }

// Normalises each head of x (N, heads d) by itself.
Tensor head_norm(const Tensor& x, Parameter& w, double eps, std::int64_t heads) {
  const std::int64_t N = x.rows(), d = x.cols() / heads;
  return reshape(rms_norm(reshape(x, {N * heads, d}), w, eps), {N, heads * d});
}

}  // namespace

Attention::Attention(const ModelConfig& c)
    : shape{c.heads, c.kv_heads, c.head_dim, c.head_dim,
            1 / std::sqrt(static_cast<double>(c.head_dim))},
      norm_eps(c.rms_norm_eps) {}

Tensor Attention::forward(const Tensor& x, const Tokens& tokens, const RopeTable& angles,
                          std::int64_t layer) {
  Tensor q = linear(x, q_proj, optional(q_bias));
  Tensor k = linear(x, k_proj, optional(k_bias));
  const Tensor v = linear(x, v_proj, optional(v_bias));
  if (q_norm.defined()) {
    q = head_norm(q, q_norm, norm_eps, shape.heads);
    k = head_norm(k, k_norm, norm_eps, shape.kv_heads);
  }
  q = rope(q, tokens.positions, angles, shape.heads);
  k = rope(k, tokens.positions, angles, shape.kv_heads);
  Tensor o;
  if (tokens.cache != nullptr) {
    tokens.cache->append(layer, k, v, tokens.cache_rows);
    o = tokens.cache->attend(layer, q, tokens.cache_rows);
  } else {
    o = attention(q, k, v, tokens.segments, shape);
  }
  return linear(o, o_proj, optional(o_bias));
}

}  // namespace r1::nn
