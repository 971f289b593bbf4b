// AdamW with torch's semantics (Loshchilov & Hutter 2019; torch.optim.AdamW).
#pragma once

#include <vector>

#include "autograd/parameter.h"

namespace r1::optim {

struct AdamwConfig {
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  double weight_decay = 0;  // decoupled; on tensors of rank 2 and more only
};

class AdamW {
 public:
  // Keeps pointers to the trainable parameters; they must outlive the optimizer.
  AdamW(ParameterList parameters, const AdamwConfig& config);

  // One update from the accumulated gradients, each multiplied by grad_scale first. A parameter
  // without a gradient counts as gradient 0: its moments decay and it moves by its momentum.
  void step(double lr, double grad_scale = 1);

  std::int64_t steps() const { return steps_; }
  void set_steps(std::int64_t n) { steps_ = n; }
  const ParameterList& parameters() const { return parameters_; }
  // First and second moments of parameters()[i], created as zeros.
  Tensor& exp_avg(std::size_t i) { return exp_avg_[i]; }
  Tensor& exp_avg_sq(std::size_t i) { return exp_avg_sq_[i]; }

 private:
  ParameterList parameters_;
  AdamwConfig config_;
  std::vector<Tensor> exp_avg_, exp_avg_sq_;
  std::int64_t steps_ = 0;
};

}  // namespace r1::optim
