#include "tensor/cpu/softmax_row.h"

namespace r1::cpu {

void logprob_forward(const Tensor& logits, const Tensor& targets, double temperature,
                     Tensor& logprob, Tensor& lse, Tensor& entropy) {
  dispatch_float(logits.dtype(), "logprob_forward", [&]<class T>() {
    const std::int64_t V = logits.cols();
    const T* x = logits.data<T>();
    const std::int32_t* target = targets.data<std::int32_t>();
    T* out = logprob.defined() ? logprob.data<T>() : nullptr;
    T* out_lse = lse.defined() ? lse.data<T>() : nullptr;
    T* out_entropy = entropy.defined() ? entropy.data<T>() : nullptr;
    parallel_rows(logits.rows(), V, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t n = begin; n < end; ++n) {
        const T* row = x + n * V;
        const SoftmaxRow<T> s = softmax_row(row, V, temperature, out_entropy != nullptr);
        if (out) out[n] = static_cast<T>(s.logprob(row[target[n]]));
        if (out_lse) out_lse[n] = static_cast<T>(s.lse());
        if (out_entropy) out_entropy[n] = static_cast<T>(s.entropy);
      }
    });
  });
}

// logprob = z_t - log sum_j exp(z_j) with z = x / T, so
// d logprob / d x_j = (1 / T) ([j = t] - exp(z_j - lse)).
void logprob_backward(const Tensor& dlogprob, const Tensor& targets, const Tensor& lse,
                      double temperature, Tensor& logits) {
  dispatch_float(logits.dtype(), "logprob_backward", [&]<class T>() {
    const std::int64_t V = logits.cols();
    const T *g = dlogprob.data<T>(), *l = lse.data<T>();
    const std::int32_t* target = targets.data<std::int32_t>();
    const T scale = static_cast<T>(1 / temperature);
    T* x = logits.data<T>();
    parallel_rows(logits.rows(), V, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t n = begin; n < end; ++n) {
        T* row = x + n * V;
        // Tokens outside the loss (a mask) have no gradient, whatever their logits are.
        if (g[n] == 0) {
          std::fill(row, row + V, T(0));
          continue;
        }
        const T factor = g[n] * scale;
        row_isa<T>().exp_scaled(V, row, scale, l[n], -factor, row);
        row[target[n]] += factor;
      }
    });
  });
}

}  // namespace r1::cpu
