#include "tensor/cpu/rows_ops.h"

namespace r1::cpu {

void swiglu_forward(const Tensor& gate, const Tensor& up, Tensor& y) {
  dispatch_float(gate.dtype(), "swiglu_forward", [&]<class T>() {
    const T *g = gate.data<T>(), *u = up.data<T>();
    T* out = y.data<T>();
    parallel_ranges(gate.numel(), kTaskNumbers, [&](std::int64_t i, std::int64_t end) {
      row_isa<T>().swiglu_forward(end - i, g + i, u + i, out + i);
    });
  });
}

void swiglu_backward(const Tensor& dy, const Tensor& gate, const Tensor& up, Tensor& dgate,
                     Tensor& dup) {
  dispatch_float(gate.dtype(), "swiglu_backward", [&]<class T>() {
    const T *d = dy.data<T>(), *g = gate.data<T>(), *u = up.data<T>();
    T *dg = dgate.data<T>(), *du = dup.data<T>();
    parallel_ranges(gate.numel(), kTaskNumbers, [&](std::int64_t i, std::int64_t end) {
      row_isa<T>().swiglu_backward(end - i, d + i, g + i, u + i, dg + i, du + i);
    });
  });
}

}  // namespace r1::cpu
