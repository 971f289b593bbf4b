// Rotary position tables: the default frequencies and the scaled ones of Llama 3.
#pragma once

#include <string>
#include <vector>

#include "autograd/ops.h"

namespace r1::nn {

struct RopeConfig {
  std::string type = "default";  // "default", "linear" or "llama3"
  double theta = 10000;
  double factor = 1;           // linear, llama3
  double low_freq_factor = 1;  // llama3, as the two that follow
  double high_freq_factor = 4;
  double original_max_positions = 8192;
  // Divisors of each frequency as a GGUF file carries them; they replace the llama3 rule.
  std::vector<double> factors;
};

// theta^(-2i/d), i < d/2, scaled as `type` says (llama3: transformers'
// _compute_llama3_parameters), in f64.
std::vector<double> rope_frequencies(const RopeConfig& config, std::int64_t head_dim);

// cos and sin of position * frequency, computed in f64 and rounded once, for positions
// [0, positions).
RopeTable rope_table(const RopeConfig& config, std::int64_t head_dim, std::int64_t positions,
                     DType dtype);

}  // namespace r1::nn
