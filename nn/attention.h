// Grouped-query attention (Ainslie et al. 2023) with rotary positions: Llama, Qwen2 (biases),
// Qwen3 (norms on the queries and keys of each head).
#pragma once

#include <string>

#include "autograd/ops.h"
#include "nn/config.h"
#include "nn/kv_cache.h"

namespace r1::nn {

// The tokens of one forward pass: N rows, packed. Either whole sequences (`segments`), or rows
// that continue the sequences of a cache (`cache` and `cache_rows`).
struct Tokens {
  Tensor ids;        // (N) i32
  Tensor positions;  // (N) i32, from 0 in each sequence
  std::vector<Segment> segments;
  KvCache* cache = nullptr;
  std::vector<CacheRows> cache_rows;
};

struct Attention {
  AttentionShape shape;
  double norm_eps = 1e-6;
  Parameter q_proj, k_proj, v_proj, o_proj;  // (H d, D), (G d, D), (G d, D), (D, H d)
  Parameter q_bias, k_bias, v_bias, o_bias;  // undefined where the model has none
  Parameter q_norm, k_norm;                  // (d), undefined where the model has none

  explicit Attention(const ModelConfig& config);
  // x (N, D) -> (N, D), before the residual addition.
  Tensor forward(const Tensor& x, const Tokens& tokens, const RopeTable& rope_angles,
                 std::int64_t layer);

  // Calls f(name, parameter, shape) for every parameter the configuration asks for.
  template <class F>
  void visit(F&& f, const std::string& prefix, const ModelConfig& c) {
    const std::int64_t D = c.hidden_size, Q = c.heads * c.head_dim, KV = c.kv_heads * c.head_dim;
    f(prefix + "q_proj.weight", q_proj, Shape{Q, D});
    f(prefix + "k_proj.weight", k_proj, Shape{KV, D});
    f(prefix + "v_proj.weight", v_proj, Shape{KV, D});
    f(prefix + "o_proj.weight", o_proj, Shape{D, Q});
    if (c.qkv_bias) {
      f(prefix + "q_proj.bias", q_bias, Shape{Q});
      f(prefix + "k_proj.bias", k_bias, Shape{KV});
      f(prefix + "v_proj.bias", v_bias, Shape{KV});
    }
    if (c.o_bias) f(prefix + "o_proj.bias", o_bias, Shape{D});
    if (c.qk_norm) {
      f(prefix + "q_norm.weight", q_norm, Shape{c.head_dim});
      f(prefix + "k_norm.weight", k_norm, Shape{c.head_dim});
    }
  }
};

}  // namespace r1::nn
