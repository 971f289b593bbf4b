// Every differentiable function. Shapes as in tensor/kernels.h: N tokens, D width, H heads.
// All of them check shapes and throw Error naming the operation and the shapes; all of them
// record on the current tape, if there is one and a gradient is wanted, and compute alike if not.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "autograd/parameter.h"
#include "autograd/tape.h"
#include "tensor/kernels.h"

namespace r1 {

// --- small operations -----------------------------------------------------------------------
Tensor add(const Tensor& a, const Tensor& b);  // equal shapes, as for all binary ones
Tensor subtract(const Tensor& a, const Tensor& b);
Tensor multiply(const Tensor& a, const Tensor& b);
Tensor divide(const Tensor& a, const Tensor& b);
Tensor minimum(const Tensor& a, const Tensor& b);            // where equal, the gradient goes to a
Tensor maximum(const Tensor& a, const Tensor& b);            // where equal, the gradient goes to a
Tensor affine(const Tensor& x, double scale, double shift);  // scale x + shift
Tensor exp(const Tensor& x);
Tensor log(const Tensor& x);
Tensor log_sigmoid(const Tensor& x);
Tensor clamp(const Tensor& x, double low, double high);  // gradient 0 outside [low, high]
Tensor sum(const Tensor& x);                             // -> (1)
Tensor reshape(const Tensor& x, const Shape& shape);
Tensor narrow(const Tensor& x, std::int64_t begin, std::int64_t length);  // rows of dim 0
Tensor gather_rows(const Tensor& x, const Tensor& ids);  // x (N, D), ids (M) i32 -> (M, D)

// --- the fused operations of a transformer ----------------------------------------------------
// y = x w^T + bias; x (N, K), w (M, K), bias (M) or null -> (N, M).
// dx = dy w, dw += dy^T x, dbias += sum over rows of dy.
Tensor linear(const Tensor& x, Parameter& w, Parameter* bias = nullptr);
// table (V, D), ids (N) i32 in [0, V) -> (N, D)
Tensor embedding(Parameter& table, const Tensor& ids);
// w x / sqrt(mean(x^2) + eps) over the last dimension; x (N, D), w (D). Zhang & Sennrich 2019.
Tensor rms_norm(const Tensor& x, Parameter& w, double eps);
// silu(gate) up, equal shapes. Shazeer 2020.
Tensor swiglu(const Tensor& gate, const Tensor& up);
// linear(swiglu(gate, up), w, bias), but the product silu(gate) up is not kept: backward makes it
// again, which is cheap beside the matrix products and saves a fifth of a block's activations.
Tensor swiglu_linear(const Tensor& gate, const Tensor& up, Parameter& w, Parameter* bias = nullptr);

// cos and sin of the rotary angles, (P, d/2) each, for positions 0 .. P-1; in stats_dtype.
struct RopeTable {
  Tensor cos, sin;
};
// x (N, heads d), positions (N) i32 in [0, P); half-split pairs. Su et al. 2021.
Tensor rope(const Tensor& x, const Tensor& positions, const RopeTable& table, std::int64_t heads);

// Causal attention over packed sequences; q (N, H dk), k (N, G dk), v (N, G dv) -> (N, H dv).
Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v,
                 std::span<const Segment> segments, const AttentionShape& shape);

// The head of every loss: log pi(target) under softmax(h w^T / temperature), row by row.
// h (N, D), w (V, D), targets (N) i32 in [0, V). `entropy` (N), on demand, carries no gradient.
// Logits are made in chunks of rows; they are kept for backward while they fit into
// `keep_bytes` and made again there otherwise: the numbers are the same either way.
struct LogprobOptions {
  double temperature = 1;
  bool want_entropy = false;
  std::size_t keep_bytes = std::size_t{256} << 20;
};
struct Logprobs {
  Tensor logprob;  // (N), stats_dtype
  Tensor entropy;  // (N), stats_dtype, or undefined
};
Logprobs linear_logprob(const Tensor& h, Parameter& w, const Tensor& targets,
                        const LogprobOptions& options = {});

// block(x) without keeping its activations: backward computes the block once more. The
// operations are exact, so the numbers are those of block(x) itself.
Tensor recompute(const std::function<Tensor(const Tensor&)>& block, const Tensor& x);

}  // namespace r1
