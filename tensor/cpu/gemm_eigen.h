// The three matrix-product kernels by Eigen, chosen with R1_GEMM=eigen: the portable fallback. Same
// contracts as in tensor/kernels.h except for the order of the sums, so equal bits are not
// promised.
#pragma once

#include "tensor/kernels.h"

namespace r1::cpu::eigen {

void matmul(const Tensor& a, Transpose ta, const Tensor& b, Transpose tb, Tensor& c,
            bool accumulate);
Tensor pack(const Tensor& b, Transpose tb);
void matmul_packed(const Tensor& a, const Tensor& packed, std::int64_t n, Tensor& c,
                   bool accumulate);

}  // namespace r1::cpu::eigen
