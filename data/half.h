// IEEE half precision (f16), which exists in files only: exact widening, and narrowing that rounds
// to nearest even. Subnormals, infinities and NaN are kept; a NaN that narrows stays a NaN.
#pragma once

#include <bit>
#include <cstdint>

namespace r1 {

// Branches are selections of whole values, so that loops over this become vector code, and no
// subnormal float is ever multiplied (exact also where the processor flushes them to zero).
inline float f16_to_f32(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
  const std::uint32_t magnitude = bits & 0x7fffu;
  // The exponent moves from bias 15 to bias 127; infinity and NaN get all exponent bits.
  const std::uint32_t normal = (magnitude << 13) + (112u << 23);
  const std::uint32_t special = (magnitude << 13) | 0x7f800000u;
  const float small = static_cast<float>(static_cast<std::int32_t>(magnitude)) * 0x1p-24f;
  const std::uint32_t wide = magnitude >= 0x7c00u  ? special
                             : magnitude < 0x0400u ? std::bit_cast<std::uint32_t>(small)
                                                   : normal;
  return std::bit_cast<float>(sign | wide);
}

inline std::uint16_t f32_to_f16(float x) {
  const auto u = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t sign = (u >> 16) & 0x8000u;
  const std::uint32_t magnitude = u & 0x7fffffffu;
  std::uint32_t half = 0;
  if (magnitude > 0x7f800000u) {
    half = 0x7e00u | ((magnitude >> 13) & 0x3ffu);
  } else if (magnitude >= 0x477ff000u) {  // 65520 and above round to infinity
    half = 0x7c00u;
  } else if (magnitude >= 0x38800000u) {  // 2^-14: the smallest normal half
    half = (magnitude - (112u << 23) + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  } else if (magnitude > 0x33000000u) {  // above 2^-25; 2^-25 itself is a tie that goes to zero
    const std::uint32_t shift = 126u - (magnitude >> 23);  // 14 .. 24
    const std::uint32_t mantissa = (magnitude & 0x7fffffu) | 0x800000u;
    const std::uint32_t even = (mantissa >> shift) & 1u;
    half = (mantissa + (1u << (shift - 1)) - 1u + even) >> shift;
  }
  return static_cast<std::uint16_t>(sign | half);
}

}  // namespace r1
