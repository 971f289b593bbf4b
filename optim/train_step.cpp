#include "optim/train_step.h"

#include <algorithm>
#include <cmath>

namespace r1::optim {

double accumulate_gradients(const ParameterList& parameters, std::size_t microbatches,
                            double total_weight, const LossSum& loss_sum) {
  R1_CHECK(total_weight > 0, "train_step: the batch has no token to learn from");
  for (const NamedParameter& p : parameters) p.parameter->zero_grad();
  double loss = 0;
  for (std::size_t i = 0; i < microbatches; ++i) {
    Recording recording;
    const Tensor sum = loss_sum(i);
    loss += sum.item();
    recording.backward(sum, 1 / total_weight);
  }
  return loss / total_weight;
}

double global_norm(const ParameterList& parameters) {
  double squares = 0;
  for (const NamedParameter& p : parameters) {
    if (p.parameter->grad.defined()) {
      squares += kernels(p.parameter->grad.device()).sum_of_squares(p.parameter->grad);
    }
  }
  return std::sqrt(squares);
}

StepStats train_step(AdamW& optimizer, std::size_t microbatches, double total_weight,
                     const LossSum& loss_sum, const StepOptions& options) {
  const ParameterList& parameters = optimizer.parameters();
  StepStats stats;
  stats.loss = accumulate_gradients(parameters, microbatches, total_weight, loss_sum);
  stats.grad_norm = global_norm(parameters);
  if (!std::isfinite(stats.loss) || !std::isfinite(stats.grad_norm)) {
    for (const NamedParameter& p : parameters) {
      const Tensor& g = p.parameter->grad;
      R1_CHECK(!g.defined() || kernels(g.device()).all_finite(g),
               "step {}: loss {}, the gradient of {} is not finite: lower the learning rate or "
               "look at the batch",
               optimizer.steps() + 1, stats.loss, p.name);
    }
    fail(
        "step {}: loss {} or gradient norm {} is not finite: lower the learning rate or look at "
        "the batch",
        optimizer.steps() + 1, stats.loss, stats.grad_norm);
  }
  double scale = 1;
  if (options.max_grad_norm > 0) {
    scale = std::min(1.0, options.max_grad_norm / (stats.grad_norm + 1e-6));
  }
  optimizer.step(options.lr, scale);
  return stats;
}

}  // namespace r1::optim
