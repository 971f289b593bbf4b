#include "tensor/cpu/rows_ops.h"

namespace r1::cpu {

void rms_norm_forward(const Tensor& x, const Tensor& w, double eps, Tensor& y, Tensor& rstd) {
  dispatch_float(x.dtype(), "rms_norm_forward", [&]<class T>() {
    const std::int64_t D = x.cols();
    const T *in = x.data<T>(), *weight = w.data<T>();
    T* out = y.data<T>();
    T* r = rstd.defined() ? rstd.data<T>() : nullptr;
    parallel_rows(x.rows(), D, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t n = begin; n < end; ++n) {
        const T value = row_isa<T>().rms_norm_forward(D, in + n * D, weight, eps, out + n * D);
        if (r) r[n] = value;
      }
    });
  });
}

void rms_norm_backward(const Tensor& dy, const Tensor& x, const Tensor& w, const Tensor& rstd,
                       Tensor& dx, Tensor& dw) {
  dispatch_float(x.dtype(), "rms_norm_backward", [&]<class T>() {
    const std::int64_t N = x.rows(), D = x.cols();
    const T *g = dy.data<T>(), *in = x.data<T>(), *weight = w.data<T>(), *r = rstd.data<T>();
    if (dx.defined()) {
      T* out = dx.data<T>();
      parallel_rows(N, D, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t n = begin; n < end; ++n)
          row_isa<T>().rms_norm_backward(D, g + n * D, in + n * D, weight, r[n], out + n * D);
      });
    }
    if (dw.defined()) {
      T* out = dw.data<T>();
      parallel_columns(N, D, [&](std::int64_t c, std::int64_t end) {
        row_isa<T>().norm_weight_gradient(N, end - c, D, g + c, in + c, r, out + c);
      });
    }
  });
}

}  // namespace r1::cpu
