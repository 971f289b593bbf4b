#include "tensor/cpu/rows_ops.h"

namespace r1::cpu {

void rope(const Tensor& x, const Tensor& positions, const Tensor& cos, const Tensor& sin,
          std::int64_t heads, bool inverse, Tensor& y) {
  dispatch_float(x.dtype(), "rope", [&]<class T>() {
    const std::int64_t D = x.cols(), half = cos.cols();
    const T *in = x.data<T>(), *c = cos.data<T>(), *s = sin.data<T>();
    const std::int32_t* p = positions.data<std::int32_t>();
    T* out = y.data<T>();
    const T sign = inverse ? T(-1) : T(1);
    parallel_rows(x.rows(), D, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t n = begin; n < end; ++n) {
        const std::int64_t row = p[n] * half;
        row_isa<T>().rope(heads, half, in + n * D, c + row, s + row, sign, out + n * D);
      }
    });
  });
}

}  // namespace r1::cpu
