#include "autograd/parameter.h"

#include "tensor/allocator.h"

namespace r1 {

Tensor& Parameter::gradient() {
  if (!trainable) return none_ = Tensor();
  if (!grad.defined()) {
    const memory::Scope scope("gradients");
    grad = Tensor::zeros_like(value);
  }
  return grad;
}

void Parameter::zero_grad() {
  if (grad.defined()) grad.fill(0);
}

const Tensor& Parameter::packed_transpose() {
  if (!packed_.defined()) {
    const memory::Scope scope("packed weights");
    packed_ = kernels(value.device()).pack(value, Transpose::yes);
  }
  return packed_;
}

}  // namespace r1
