#include "optim/adamw.h"

#include <algorithm>

#include "tensor/allocator.h"

namespace r1::optim {

AdamW::AdamW(ParameterList parameters, const AdamwConfig& config)
    : parameters_(std::move(parameters)), config_(config) {
  std::erase_if(parameters_, [](const NamedParameter& p) { return !p.parameter->trainable; });
  const memory::Scope scope("optimizer");
  for (const NamedParameter& p : parameters_) {
    R1_CHECK(p.parameter->value.dtype() != DType::bf16,
             "adamw: {} is bf16 and would lose small updates; train in f32", p.name);
    exp_avg_.push_back(Tensor::zeros_like(p.parameter->value));
    exp_avg_sq_.push_back(Tensor::zeros_like(p.parameter->value));
  }
}

void AdamW::step(double lr, double grad_scale) {
  ++steps_;
  AdamwStep s{.lr = lr,
              .beta1 = config_.beta1,
              .beta2 = config_.beta2,
              .eps = config_.eps,
              .grad_scale = grad_scale,
              .step = steps_};
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    Parameter& p = *parameters_[i].parameter;
    s.weight_decay = p.value.rank() >= 2 ? config_.weight_decay : 0;
    kernels(p.value.device()).adamw(s, p.gradient(), p.value, exp_avg_[i], exp_avg_sq_[i]);
    p.value_changed();
  }
}

}  // namespace r1::optim
