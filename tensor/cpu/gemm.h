// Matrix products on the CPU; the members of Kernels (tensor/kernels.h) of the same names.
#pragma once

#include "tensor/kernels.h"

namespace r1::cpu {

void matmul(const Tensor& a, Transpose ta, const Tensor& b, Transpose tb, Tensor& c,
            bool accumulate);
Tensor pack(const Tensor& b, Transpose tb);
void matmul_packed(const Tensor& a, const Tensor& packed, std::int64_t n, Tensor& c,
                   bool accumulate);

}  // namespace r1::cpu
