// Row-wise and elementwise kernels of one instruction-set level, single-threaded, on plain
// pointers. Elementwise functions give an element the same bits wherever it lies in its array;
// sums assign columns to lanes by their index from the pointer given and end in a fixed tree.
#pragma once

#include <stdint.h>

namespace r1::cpu {

template <class T>
struct AdamwScalars {
  T grad_scale, decay;  // decay = 1 - lr weight_decay
  T one_minus_beta1, beta2, one_minus_beta2;
  T step_size, inv_sqrt_bias2, eps;  // lr / (1 - beta1^t), 1 / sqrt(1 - beta2^t)
};

// The two sums of a block of logits: e = exp(d), d = scale x - shift.
struct ExpSums {
  double e = 0;
  double ed = 0;  // sum of e d
};

template <class T>
struct RowIsa {
  // --- elementwise over n numbers; an output may be one of the inputs ----------------------
  void (*unary[5])(int64_t n, const T* x, T* y);               // in the order of r1::Unary
  void (*binary[6])(int64_t n, const T* a, const T* b, T* y);  // in the order of r1::Binary
  void (*affine)(int64_t n, const T* x, T scale, T shift, T* y);
  void (*clamp)(int64_t n, const T* x, T low, T high, T* y);
  void (*clamp_backward)(int64_t n, const T* dy, const T* x, T low, T high, T* dx);
  void (*axpy)(int64_t n, T alpha, const T* x, T* y);
  // y = factor exp(scale x - shift)
  void (*exp_scaled)(int64_t n, const T* x, T scale, T shift, T factor, T* y);
  void (*swiglu_forward)(int64_t n, const T* gate, const T* up, T* y);
  void (*swiglu_backward)(int64_t n, const T* dy, const T* gate, const T* up, T* dgate, T* dup);
  void (*adamw)(int64_t n, const AdamwScalars<T>& s, const T* g, T* p, T* m, T* v);

  // --- sums over a block, accumulated in f64 ----------------------------------------------
  double (*sum)(int64_t n, const T* x);
  double (*sum_of_squares)(int64_t n, const T* x);

  // --- columns: y[c] += a chain over the rows in ascending order --------------------------
  // of x[row, c]; `stride` is the length of a row.
  void (*add_columns)(int64_t rows, int64_t cols, int64_t stride, const T* x, T* y);
  // of dy[row, c] (x[row, c] rstd[row])
  void (*norm_weight_gradient)(int64_t rows, int64_t cols, int64_t stride, const T* dy, const T* x,
                               const T* rstd, T* dw);

  // --- one row ----------------------------------------------------------------------------
  // Returns rstd = 1 / sqrt(mean(x^2) + eps) and writes y = w (x rstd).
  T (*rms_norm_forward)(int64_t n, const T* x, const T* w, double eps, T* y);
  // dx += d loss / dx
  void (*rms_norm_backward)(int64_t n, const T* dy, const T* x, const T* w, T rstd, T* dx);
  // `heads` heads of 2 half numbers; sign is 1, or -1 to rotate back.
  void (*rope)(int64_t heads, int64_t half, const T* x, const T* cos, const T* sin, T sign, T* y);
  T (*max)(int64_t n, const T* x);  // n >= 1; skips NaN
  // Sums over a block of at most 4096 logits, in lanes of T. The second is 0 unless wanted.
  ExpSums (*sum_exp)(int64_t n, const T* x, T scale, T shift, bool want_ed);
};

}  // namespace r1::cpu
