#include <cmath>

#include "tensor/cpu/rows_ops.h"

namespace r1::cpu {

void adamw(const AdamwStep& s, const Tensor& g, Tensor& p, Tensor& m, Tensor& v) {
  dispatch_float(p.dtype(), "adamw", [&]<class T>() {
    const auto t = static_cast<double>(s.step);
    const double bias1 = 1 - std::pow(s.beta1, t), bias2 = 1 - std::pow(s.beta2, t);
    const AdamwScalars<T> scalars{.grad_scale = static_cast<T>(s.grad_scale),
                                  .decay = static_cast<T>(1 - s.lr * s.weight_decay),
                                  .one_minus_beta1 = static_cast<T>(1 - s.beta1),
                                  .beta2 = static_cast<T>(s.beta2),
                                  .one_minus_beta2 = static_cast<T>(1 - s.beta2),
                                  .step_size = static_cast<T>(s.lr / bias1),
                                  .inv_sqrt_bias2 = static_cast<T>(1 / std::sqrt(bias2)),
                                  .eps = static_cast<T>(s.eps)};
    const T* grad = g.data<T>();
    T *param = p.data<T>(), *first = m.data<T>(), *second = v.data<T>();
    parallel_ranges(p.numel(), kTaskNumbers, [&](std::int64_t i, std::int64_t end) {
      row_isa<T>().adamw(end - i, scalars, grad + i, param + i, first + i, second + i);
    });
  });
}

}  // namespace r1::cpu
