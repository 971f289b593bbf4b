#include "data/half.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace r1 {
namespace {

// The value of a half from its definition.
double value_of(std::uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const int mantissa = bits & 1023;
  double v = exponent == 31  ? (mantissa ? std::nan("") : HUGE_VAL)
             : exponent == 0 ? std::ldexp(mantissa, -24)
                             : std::ldexp(1024 + mantissa, exponent - 25);
  return (bits & 0x8000) != 0 ? -v : v;
}

TEST(Half, EveryHalfWidensExactlyAndComesBack) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float wide = f16_to_f32(half);
    const double expected = value_of(half);
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(wide));
      EXPECT_TRUE(std::isnan(value_of(f32_to_f16(wide))));
    } else {
      EXPECT_EQ(static_cast<double>(wide), expected) << bits;
      EXPECT_EQ(std::signbit(wide), std::signbit(expected)) << bits;
      EXPECT_EQ(f32_to_f16(wide), half);
    }
  }
}

// Between two neighbouring halves: the nearer one, at the middle the one with an even last bit.
TEST(Half, RoundsToNearestEven) {
  for (std::uint32_t bits = 0; bits < 0x7c00; ++bits) {
    const auto low = static_cast<std::uint16_t>(bits);
    const auto high = static_cast<std::uint16_t>(bits + 1);
    const double a = value_of(low);
    const double b = high == 0x7c00 ? 65536.0 : value_of(high);
    const auto middle = static_cast<float>((a + b) / 2);
    const std::uint16_t even = (low & 1) == 0 ? low : high;
    EXPECT_EQ(f32_to_f16(middle), even) << bits;
    EXPECT_EQ(f32_to_f16(std::nextafter(middle, -1.0f)), low) << bits;
    EXPECT_EQ(f32_to_f16(std::nextafter(middle, 1e6f)), high) << bits;
    EXPECT_EQ(f32_to_f16(-middle), even | 0x8000) << bits;
  }
}

TEST(Half, ExtremeFloats) {
  EXPECT_EQ(f32_to_f16(std::numeric_limits<float>::infinity()), 0x7c00);
  EXPECT_EQ(f32_to_f16(std::numeric_limits<float>::max()), 0x7c00);
  EXPECT_EQ(f32_to_f16(-std::numeric_limits<float>::denorm_min()), 0x8000);
  EXPECT_EQ(f32_to_f16(0.0f), 0);
  EXPECT_EQ(f32_to_f16(65519.996f), 0x7bff);
}

}  // namespace
}  // namespace r1
