#include "tensor/cpu/isa/rows.h"

#include "tensor/cpu/isa/elementwise.h"
#include "tensor/cpu/isa/level.h"
#include "tensor/cpu/isa/reduce.h"

namespace r1::cpu::R1_LEVEL {

template <class T>
RowIsa<T> rows_table() {
  using E = Elementwise<T>;
  using R = Reduce<T>;
  return {.unary = {E::exp, E::log, E::log_sigmoid, E::square, E::negate},
          .binary = {E::add, E::subtract, E::multiply, E::divide, E::minimum, E::maximum},
          .affine = E::affine,
          .clamp = E::clamp,
          .clamp_backward = E::clamp_backward,
          .axpy = E::axpy,
          .exp_scaled = E::exp_scaled,
          .swiglu_forward = E::swiglu_forward,
          .swiglu_backward = E::swiglu_backward,
          .adamw = E::adamw,
          .sum = R::sum,
          .sum_of_squares = R::sum_of_squares,
          .add_columns = R::add_columns,
          .norm_weight_gradient = R::norm_weight_gradient,
          .rms_norm_forward = R::rms_norm_forward,
          .rms_norm_backward = R::rms_norm_backward,
          .rope = R::rope,
          .max = R::max,
          .sum_exp = R::sum_exp};
}

RowIsa<float> rows_f32() { return rows_table<float>(); }
RowIsa<double> rows_f64() { return rows_table<double>(); }

}  // namespace r1::cpu::R1_LEVEL
