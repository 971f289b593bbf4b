// Checks gradients against finite differences of the function itself, in f64.
//
// Four-point central differences: f'(x) = [8 (f(x+h) - f(x-h)) - (f(x+2h) - f(x-2h))] / 12h +
// O(h^4) with h about 1e-3 max(|x|, root mean square of the tensor), a power of two so that x + h
// is exact. A right gradient of a smooth function agrees to 1e-10 or so; a demand of 1e-8 is safe.
// Where f has a kink (clamp, minimum) within 2h of x, differences mean nothing: choose points away
// from them.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "autograd/parameter.h"
#include "tensor/tensor.h"

namespace r1 {

// From the watched inputs, and from parameters that it holds by reference, to one number. It is
// called often and must be a pure function of those.
using ScalarFunction = std::function<Tensor(std::span<const Tensor> inputs)>;

struct GradcheckOptions {
  double step = 1e-3;
  // Elements checked in each tensor, spread evenly over it; 0: all of them.
  std::int64_t elements = 0;
};

struct GradcheckReport {
  // Largest |analytic - numeric| relative to the largest gradient of the same tensor (or to 1e-4
  // |f|, where rounding of f itself hides smaller ones).
  double worst = 0;
  std::string where;                 // of the worst: "input 0[17]" or "lm_head.weight[3]"
  double analytic = 0, numeric = 0;  // there
  std::int64_t checked = 0;          // elements
};

// Every trainable parameter and every input must be f64, and f must depend on one of them; throws
// Error otherwise. Values are changed in place and restored; `grad` of the parameters holds the
// analytic gradient of f afterwards.
GradcheckReport gradcheck(const ScalarFunction& f, const ParameterList& parameters,
                          std::span<const Tensor> inputs = {},
                          const GradcheckOptions& options = {});

}  // namespace r1
