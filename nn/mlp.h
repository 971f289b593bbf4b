// The gated feed-forward part: W_down (silu(W_gate x) * (W_up x)). Shazeer 2020.
#pragma once

#include <string>

#include "autograd/ops.h"
#include "nn/config.h"

namespace r1::nn {

struct Mlp {
  Parameter gate, up, down;                 // (F, D), (F, D), (D, F)
  Parameter gate_bias, up_bias, down_bias;  // undefined where the model has none

  // x (N, D) -> (N, D), before the residual addition.
  Tensor forward(const Tensor& x) {
    auto optional = [](Parameter& p) { return p.defined() ? &p : nullptr; };
    const Tensor g = linear(x, gate, optional(gate_bias));
    const Tensor u = linear(x, up, optional(up_bias));
    return swiglu_linear(g, u, down, optional(down_bias));
  }

  template <class F>
  void visit(F&& f, const std::string& prefix, const ModelConfig& c) {
    const std::int64_t D = c.hidden_size, W = c.intermediate_size;
    f(prefix + "gate_proj.weight", gate, Shape{W, D});
    f(prefix + "up_proj.weight", up, Shape{W, D});
    f(prefix + "down_proj.weight", down, Shape{D, W});
    if (c.mlp_bias) {
      f(prefix + "gate_proj.bias", gate_bias, Shape{W});
      f(prefix + "up_proj.bias", up_bias, Shape{W});
      f(prefix + "down_proj.bias", down_bias, Shape{D});
    }
  }
};

}  // namespace r1::nn
