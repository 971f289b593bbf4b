// Everything a backend computes, as one struct of function pointers: a backend is one filled
// struct (tensor/cpu/backend.cpp), callers go through kernels(device) and never name a backend.
//
// Conventions, true for every member:
// - Tensors are contiguous rows. N tokens, D model width, H query heads, G key/value heads,
//   dk and dv head widths, V vocabulary. All float operands of a call share one dtype (f32, f64 or
//   bf16) and one device, except where a comment says otherwise; index tensors are i32.
// - Shapes are checked by the caller (autograd/ops, nn); a kernel may assert them.
// - "+=": the output is added to, in the order of rows; otherwise it is overwritten.
// - An output that is an undefined Tensor is not computed.
// - A row's bits depend on that row alone: not on its neighbours, nor on the number of threads.
// - statistics (rstd, lse, log-probs) have dtype stats_dtype(x): f64 for f64, else f32.
#pragma once

#include <cstdint>
#include <span>

#include "tensor/tensor.h"

namespace r1 {

constexpr DType stats_dtype(DType t) { return t == DType::f64 ? DType::f64 : DType::f32; }

enum class Unary { exp, log, log_sigmoid, square, negate };
enum class Binary { add, subtract, multiply, divide, minimum, maximum };

enum class Transpose { no, yes };

// One sequence of a packed batch. Its queries are the rows [begin, begin + length) of the batch;
// its keys are first the rows [prefix_begin, prefix_begin + prefix_length) (a prompt shared by
// several sequences, computed once), then its own rows up to the query (causal).
struct Segment {
  std::int64_t begin = 0;
  std::int64_t length = 0;
  std::int64_t prefix_begin = 0;
  std::int64_t prefix_length = 0;
};

// Query rows [begin, begin + length) belong to slot `slot` of a key/value cache; the first of them
// stands at `position` (counted in keys of that slot), so row i sees keys 0 .. position + i.
struct CacheRows {
  std::int64_t begin = 0;
  std::int64_t length = 0;
  std::int64_t slot = 0;
  std::int64_t position = 0;
};

// Heads of one attention call: q (N, H*dk), k (N, G*dk), v (N, G*dv), o (N, H*dv);
// query head h reads key/value head h / (H / G).
struct AttentionShape {
  std::int64_t heads = 0;      // H
  std::int64_t kv_heads = 0;   // G
  std::int64_t key_dim = 0;    // dk
  std::int64_t value_dim = 0;  // dv
  double scale = 1;            // of q . k
};

struct AdamwStep {
  double lr = 0, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
  double grad_scale = 1;  // multiplies the gradient first (clipping)
  std::int64_t step = 1;  // t of the bias correction, from 1
};

// How one row of logits is turned into a token; rows differ in everything.
struct SampleRow {
  double temperature = 1;  // 0: greedy
  double top_p = 1;        // 1: off
  double min_p = 0;        // 0: off
  std::int64_t top_k = 0;  // 0: off
  double uniform = 0;      // the noise, in [0, 1)
};

struct Kernels {
  const char* name;  // backend and instruction set, for people

  // --- plumbing ---------------------------------------------------------------------------
  void (*fill)(Tensor& y, double value);
  void (*copy)(const Tensor& x, Tensor& y);  // y = x, converting between float dtypes

  // --- elementwise ------------------------------------------------------------------------
  void (*unary)(Unary op, const Tensor& x, Tensor& y);
  void (*binary)(Binary op, const Tensor& a, const Tensor& b, Tensor& y);
  void (*affine)(const Tensor& x, double scale, double shift, Tensor& y);  // y = scale x + shift
  void (*clamp)(const Tensor& x, double low, double high, Tensor& y);
  // dx += dy where low <= x <= high
  void (*clamp_backward)(const Tensor& dy, const Tensor& x, double low, double high, Tensor& dx);
  void (*axpy)(double alpha, const Tensor& x, Tensor& y);  // y += alpha x
  // y (1) = sum of x, in fixed blocks; y has stats_dtype
  void (*sum)(const Tensor& x, Tensor& y);
  double (*sum_of_squares)(const Tensor& x);  // in f64, fixed order
  bool (*all_finite)(const Tensor& x);

  // --- matrix products --------------------------------------------------------------------
  // C (M, N) = op(A) op(B), or C += with accumulate. op(A) is (M, K), op(B) is (K, N). Each
  // element is one chain of fused multiply-adds over k = 0 .. K-1, starting from 0 or from C.
  void (*matmul)(const Tensor& a, Transpose ta, const Tensor& b, Transpose tb, Tensor& c,
                 bool accumulate);
  // op(B) in the backend's own layout, for use in many products: the same bits as matmul.
  Tensor (*pack)(const Tensor& b, Transpose tb);
  // C (M, N) (+)= A (M, K) op(B) with packed = pack(op(B)); N and K as they were there.
  void (*matmul_packed)(const Tensor& a, const Tensor& packed, std::int64_t n, Tensor& c,
                        bool accumulate);
  void (*add_rows)(const Tensor& bias, Tensor& y);  // y (N, D) += bias (D)
  void (*sum_rows)(const Tensor& x, Tensor& y);     // y (D) += sum over rows of x (N, D)

  // --- normalisation, positions, gate -----------------------------------------------------
  // y = w x / sqrt(mean(x^2) + eps); x (N, D), w (D), rstd (N) = 1 / sqrt(mean(x^2) + eps).
  void (*rms_norm_forward)(const Tensor& x, const Tensor& w, double eps, Tensor& y, Tensor& rstd);
  // dx +=, dw += (in row order)
  void (*rms_norm_backward)(const Tensor& dy, const Tensor& x, const Tensor& w, const Tensor& rstd,
                            Tensor& dx, Tensor& dw);
  // Rotary positions, half-split pairs (i, i + d/2) of each of `heads` heads of width d:
  // x, y (N, heads*d); positions (N) i32; cos, sin (P, d/2) in stats_dtype; inverse rotates back
  // (the gradient). x and y may be the same tensor.
  void (*rope)(const Tensor& x, const Tensor& positions, const Tensor& cos, const Tensor& sin,
               std::int64_t heads, bool inverse, Tensor& y);
  void (*swiglu_forward)(const Tensor& gate, const Tensor& up, Tensor& y);  // silu(gate) up
  void (*swiglu_backward)(const Tensor& dy, const Tensor& gate, const Tensor& up, Tensor& dgate,
                          Tensor& dup);  // overwrite

  // --- attention --------------------------------------------------------------------------
  // Causal, packed; lse (H, N) = log sum exp of the scaled scores, undefined if not wanted.
  void (*attention_forward)(const Tensor& q, const Tensor& k, const Tensor& v,
                            std::span<const Segment> segments, const AttentionShape& shape,
                            Tensor& o, Tensor& lse);
  // dq overwritten; dk, dv overwritten too, a shared prefix collecting all its members in order.
  void (*attention_backward)(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v,
                             const Tensor& o, const Tensor& lse, std::span<const Segment> segments,
                             const AttentionShape& shape, Tensor& dq, Tensor& dk, Tensor& dv);
  // Numbers of one layer's cache for `slots` sequences of at most `capacity` keys, both halves in
  // the backend's own layout.
  struct CacheSizes {
    std::int64_t key_numbers, value_numbers;
  };
  CacheSizes (*cache_sizes)(const AttentionShape& shape, std::int64_t slots, std::int64_t capacity);
  // Writes the rows of k (N, G*dk) and v (N, G*dv) at their positions of their slots.
  void (*cache_append)(const Tensor& k, const Tensor& v, std::span<const CacheRows> rows,
                       const AttentionShape& shape, std::int64_t capacity, Tensor& key_cache,
                       Tensor& value_cache);
  // Copies the first `keys` keys and values of slot `from` to slot `to`.
  void (*cache_copy)(std::int64_t from, std::int64_t to, std::int64_t keys,
                     const AttentionShape& shape, std::int64_t capacity, Tensor& key_cache,
                     Tensor& value_cache);
  // Attention of the query rows over their slots: bit for bit what attention_forward gives.
  void (*attention_cached)(const Tensor& q, const Tensor& key_cache, const Tensor& value_cache,
                           std::span<const CacheRows> rows, const AttentionShape& shape,
                           std::int64_t capacity, Tensor& o);

  // --- embedding, head --------------------------------------------------------------------
  void (*gather_rows)(const Tensor& table, const Tensor& ids, Tensor& y);  // y[n] = table[ids[n]]
  // dtable[ids[n]] += dy[n], n ascending
  void (*scatter_add_rows)(const Tensor& dy, const Tensor& ids, Tensor& dtable);
  // Rows of z = logits / temperature: lse (N); logprob (N) = z[target] - lse;
  // entropy (N) = -sum p log p. Logits (N, V) in the compute dtype; results in stats_dtype.
  void (*logprob_forward)(const Tensor& logits, const Tensor& targets, double temperature,
                          Tensor& logprob, Tensor& lse, Tensor& entropy);
  // In place: logits become d loss / d logits = dlogprob (onehot(target) - p) / temperature.
  void (*logprob_backward)(const Tensor& dlogprob, const Tensor& targets, const Tensor& lse,
                           double temperature, Tensor& logits);
  // Draws one token a row of logits (B, V): ids (B) i32, logprobs (B) of
  // log_softmax(logits / temperature) before any truncation (temperature 1 when greedy).
  // Columns from `vocab` on are never drawn and count as probability 0.
  void (*sample)(const Tensor& logits, std::span<const SampleRow> rows, std::int64_t vocab,
                 Tensor& ids, Tensor& logprobs);

  // --- optimizer --------------------------------------------------------------------------
  // torch.optim.AdamW: p *= 1 - lr wd; m, v moments; p -= lr m^ / (sqrt(v^) + eps).
  void (*adamw)(const AdamwStep& s, const Tensor& g, Tensor& p, Tensor& m, Tensor& v);
};

// The table of a device. Throws Error when this build has no such backend.
const Kernels& kernels(Device device = Device::cpu);

}  // namespace r1
