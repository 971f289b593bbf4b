#include "nn/rope.h"

#include <cmath>
#include <numbers>

namespace r1::nn {
namespace {

double llama3_scaled(double frequency, const RopeConfig& c) {
  const double wavelength = 2 * std::numbers::pi / frequency;
  if (wavelength < c.original_max_positions / c.high_freq_factor) return frequency;
  if (wavelength > c.original_max_positions / c.low_freq_factor) return frequency / c.factor;
  const double smooth = (c.original_max_positions / wavelength - c.low_freq_factor) /
                        (c.high_freq_factor - c.low_freq_factor);
  return (1 - smooth) * frequency / c.factor + smooth * frequency;
}

}  // namespace

std::vector<double> rope_frequencies(const RopeConfig& c, std::int64_t head_dim) {
  const std::int64_t half = head_dim / 2;
  R1_CHECK(c.factors.empty() || static_cast<std::int64_t>(c.factors.size()) == half,
           "rope: {} frequency factors for {} pairs", c.factors.size(), half);
  std::vector<double> f(static_cast<std::size_t>(half));
  for (std::size_t i = 0; i < f.size(); ++i) {
    f[i] = std::pow(c.theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
    if (!c.factors.empty()) f[i] /= c.factors[i];
    else if (c.type == "linear") f[i] /= c.factor;
    else if (c.type == "llama3") f[i] = llama3_scaled(f[i], c);
  }
  return f;
}

RopeTable rope_table(const RopeConfig& config, std::int64_t head_dim, std::int64_t positions,
                     DType dtype) {
  const std::vector<double> f = rope_frequencies(config, head_dim);
  const auto half = static_cast<std::int64_t>(f.size());
  std::vector<double> cos(static_cast<std::size_t>(positions * half)), sin(cos.size());
  for (std::int64_t p = 0; p < positions; ++p) {
    for (std::int64_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(p) * f[static_cast<std::size_t>(i)];
      cos[static_cast<std::size_t>(p * half + i)] = std::cos(angle);
      sin[static_cast<std::size_t>(p * half + i)] = std::sin(angle);
    }
  }
  const Shape shape{positions, half};
  return {Tensor::from(cos, shape).cast(stats_dtype(dtype)),
          Tensor::from(sin, shape).cast(stats_dtype(dtype))};
}

}  // namespace r1::nn
