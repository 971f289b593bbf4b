// The CPU's table: every member of Kernels, with bf16 added to the kernels for f32 and f64.
#include <string>

#include "tensor/cpu/attention.h"
#include "tensor/cpu/bf16.h"
#include "tensor/cpu/gemm.h"
#include "tensor/cpu/isa/isa.h"
#include "tensor/cpu/rows_ops.h"
#include "tensor/kernels.h"

namespace r1::cpu {

const Kernels& table() {
  static const std::string name = std::string("cpu ") + isa().name;
  static const Kernels kernels = {
      .name = name.c_str(),
      .fill = &fill,
      .copy = &copy,
      .unary = through_f32<&unary>,
      .binary = through_f32<&binary>,
      .affine = through_f32<&affine>,
      .clamp = through_f32<&clamp>,
      .clamp_backward = through_f32<&clamp_backward>,
      .axpy = through_f32<&axpy>,
      .sum = through_f32<&sum>,
      .sum_of_squares = through_f32<&sum_of_squares>,
      .all_finite = &all_finite,
      .matmul = through_f32<&matmul>,
      .pack = through_f32<&pack>,
      .matmul_packed = through_f32<&matmul_packed>,
      .add_rows = through_f32<&add_rows>,
      .sum_rows = through_f32<&sum_rows>,
      .rms_norm_forward = through_f32<&rms_norm_forward>,
      .rms_norm_backward = through_f32<&rms_norm_backward>,
      .rope = through_f32<&rope>,
      .swiglu_forward = through_f32<&swiglu_forward>,
      .swiglu_backward = through_f32<&swiglu_backward>,
      .attention_forward = through_f32<&attention_forward>,
      .attention_backward = through_f32<&attention_backward>,
      .cache_sizes = &cache_sizes,
      .cache_append = through_f32<&cache_append>,
      .cache_copy = through_f32<&cache_copy>,
      .attention_cached = through_f32<&attention_cached>,
      .gather_rows = &gather_rows,
      .scatter_add_rows = through_f32<&scatter_add_rows>,
      .logprob_forward = through_f32<&logprob_forward>,
      .logprob_backward = through_f32<&logprob_backward>,
      .sample = through_f32<&sample>,
      .adamw = through_f32<&adamw>,
  };
  return kernels;
}

}  // namespace r1::cpu
