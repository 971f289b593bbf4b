// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as
// 1, 2, 3", SC 2011). A number is a pure function of (seed, purpose, four counters): nothing to
// save, nothing that depends on the order of calls, the same stream on every device.
#pragma once

#include <array>
#include <cstdint>

namespace r1 {

// What the noise is for; two purposes never share a stream.
enum class Purpose : std::uint32_t { init = 1, shuffle = 2, sampling = 3, task = 4, test = 5 };

constexpr std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                                  std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * counter[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * counter[2];
    counter = {
        static_cast<std::uint32_t>(p1 >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(p1),
        static_cast<std::uint32_t>(p0 >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(p0)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

// The stream of one (seed, purpose). at(a, b, c) gives four 32-bit words.
class Random {
 public:
  constexpr Random(std::uint64_t seed, Purpose purpose) : seed_(seed), purpose_(purpose) {}

  constexpr std::array<std::uint32_t, 4> at(std::uint32_t a, std::uint32_t b = 0,
                                            std::uint32_t c = 0) const {
    return philox4x32({a, b, c, static_cast<std::uint32_t>(purpose_)},
                      {static_cast<std::uint32_t>(seed_), static_cast<std::uint32_t>(seed_ >> 32)});
  }
  // Uniform in [0, 1) with 53 random bits.
  constexpr double uniform(std::uint32_t a, std::uint32_t b = 0, std::uint32_t c = 0) const {
    const auto w = at(a, b, c);
    const std::uint64_t bits = (std::uint64_t{w[0]} << 21) ^ (w[1] >> 11);
    return static_cast<double>(bits) * 0x1p-53;
  }
  // Standard normal (Box-Muller), one number a counter.
  double normal(std::uint32_t a, std::uint32_t b = 0, std::uint32_t c = 0) const;
  // Uniform integer in [0, n); the bias is below n / 2^32.
  constexpr std::uint32_t below(std::uint32_t n, std::uint32_t a, std::uint32_t b = 0,
                                std::uint32_t c = 0) const {
    return static_cast<std::uint32_t>((std::uint64_t{at(a, b, c)[0]} * n) >> 32);
  }

 private:
  std::uint64_t seed_;
  Purpose purpose_;
};

}  // namespace r1
