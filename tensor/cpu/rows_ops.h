// The row-wise and elementwise members of struct Kernels on the CPU: signatures, shapes and meaning
// are those of tensor/kernels.h. fill, copy, all_finite and gather_rows take every dtype; the
// others f32 and f64 (anything else throws Error).
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "tensor/cpu/isa/isa.h"
#include "tensor/kernels.h"
#include "tensor/parallel.h"

namespace r1::cpu {

void fill(Tensor& y, double value);
void copy(const Tensor& x, Tensor& y);

void unary(Unary op, const Tensor& x, Tensor& y);
void binary(Binary op, const Tensor& a, const Tensor& b, Tensor& y);
void affine(const Tensor& x, double scale, double shift, Tensor& y);
void clamp(const Tensor& x, double low, double high, Tensor& y);
void clamp_backward(const Tensor& dy, const Tensor& x, double low, double high, Tensor& dx);
void axpy(double alpha, const Tensor& x, Tensor& y);
void sum(const Tensor& x, Tensor& y);
double sum_of_squares(const Tensor& x);
bool all_finite(const Tensor& x);
void add_rows(const Tensor& bias, Tensor& y);
void sum_rows(const Tensor& x, Tensor& y);

void rms_norm_forward(const Tensor& x, const Tensor& w, double eps, Tensor& y, Tensor& rstd);
void rms_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& w, const Tensor& rstd,
                       Tensor& dx, Tensor& dw);
void rope(const Tensor& x, const Tensor& positions, const Tensor& cos, const Tensor& sin,
          std::int64_t heads, bool inverse, Tensor& y);
void swiglu_forward(const Tensor& gate, const Tensor& up, Tensor& y);
void swiglu_backward(const Tensor& dy, const Tensor& gate, const Tensor& up, Tensor& dgate,
                     Tensor& dup);

void gather_rows(const Tensor& table, const Tensor& ids, Tensor& y);
void scatter_add_rows(const Tensor& dy, const Tensor& ids, Tensor& dtable);

void logprob_forward(const Tensor& logits, const Tensor& targets, double temperature,
                     Tensor& logprob, Tensor& lse, Tensor& entropy);
void logprob_backward(const Tensor& dlogprob, const Tensor& targets, const Tensor& lse,
                      double temperature, Tensor& logits);
void sample(const Tensor& logits, std::span<const SampleRow> rows, std::int64_t vocab, Tensor& ids,
            Tensor& logprobs);

void adamw(const AdamwStep& s, const Tensor& g, Tensor& p, Tensor& m, Tensor& v);

// --- for the files that implement these ------------------------------------------------------

// Numbers of work in one task: large against the cost of handing a task to a thread.
inline constexpr std::int64_t kTaskNumbers = 16384;

template <class T>
const RowIsa<T>& row_isa() {
  return isa().of<T>().rows;
}

// f(begin, end) on ranges of rows of `cols` numbers.
template <class F>
void parallel_rows(std::int64_t rows, std::int64_t cols, F&& f) {
  parallel_ranges(rows, std::max<std::int64_t>(1, kTaskNumbers / std::max<std::int64_t>(1, cols)),
                  f);
}

// f(begin, end) on ranges of columns, about one a thread, when each column is one chain over rows.
template <class F>
void parallel_columns(std::int64_t rows, std::int64_t cols, F&& f) {
  constexpr std::int64_t kStep = 32;
  const std::int64_t parts = rows * cols <= kTaskNumbers ? 1 : thread_count();
  const std::int64_t steps = (cols + kStep - 1) / kStep;
  parallel_ranges(cols, std::max<std::int64_t>(1, (steps + parts - 1) / parts) * kStep, f);
}

}  // namespace r1::cpu
