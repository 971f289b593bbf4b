#include "tensor/random.h"

#include <cmath>
#include <numbers>

namespace r1 {

double Random::normal(std::uint32_t a, std::uint32_t b, std::uint32_t c) const {
  const auto w = at(a, b, c);
  const double u1 = (static_cast<double>(w[0]) + 1.0) * 0x1p-32;  // (0, 1]
  const double u2 = static_cast<double>((std::uint64_t{w[1]} << 21) ^ (w[2] >> 11)) * 0x1p-53;
  return std::sqrt(-2.0 * std::log(u1)) * std::cos(2.0 * std::numbers::pi * u2);
}

}  // namespace r1
