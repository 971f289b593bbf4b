// One optimizer step, shared by every trainer: they differ only in the loss they hand in.
#pragma once

#include <functional>

#include "autograd/ops.h"
#include "optim/adamw.h"

namespace r1::optim {

struct StepOptions {
  double lr = 0;
  double max_grad_norm = 0;  // 0: no clipping
};

struct StepStats {
  double loss = 0;       // sum of the loss sums / total weight
  double grad_norm = 0;  // global 2-norm of the gradient, before clipping
};

// The un-normalised loss sum of micro-batch i, on the current tape.
using LossSum = std::function<Tensor(std::size_t microbatch)>;

// Zeroes the gradients, adds up those of all micro-batches, each backward seeded with
// 1 / total_weight (so that any split gives the gradient of the whole batch), clips by the global
// norm (coefficient min(1, max / (norm + 1e-6)), as torch) and steps. Throws Error naming the
// first bad tensor, and changes nothing, when the loss or a gradient is not finite.
StepStats train_step(AdamW& optimizer, std::size_t microbatches, double total_weight,
                     const LossSum& loss_sum, const StepOptions& options);

// The part before the update: gradients of sum / total_weight are left in the parameters.
double accumulate_gradients(const ParameterList& parameters, std::size_t microbatches,
                            double total_weight, const LossSum& loss_sum);
double global_norm(const ParameterList& parameters);

}  // namespace r1::optim
