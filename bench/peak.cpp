#include "bench/peak.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

namespace r1::bench {
namespace {

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Runs f(thread) on all threads at once; returns the time from the common start to the last end.
template <class F>
double timed(int threads, F&& f) {
  std::atomic<int> waiting{threads};
  std::atomic<double> first{1e300}, last{0};
  const auto body = [&](int t) {
    waiting.fetch_sub(1);
    while (waiting.load() > 0) {
    }
    const double begin = seconds();
    f(t);
    const double end = seconds();
    double seen = first.load();
    while (begin < seen && !first.compare_exchange_weak(seen, begin)) {
    }
    seen = last.load();
    while (end > seen && !last.compare_exchange_weak(seen, end)) {
    }
  };
  std::vector<std::thread> others;
  for (int t = 1; t < threads; ++t) others.emplace_back(body, t);
  body(0);
  for (std::thread& t : others) t.join();
  return last.load() - first.load();
}

#if defined(__x86_64__)

// Twelve independent chains: more than latency times throughput of any core so far.
#define R1_FMA(v, i) "vfmadd231ps %%" v "14, %%" v "15, %%" v #i "\n"
#define R1_FMA_LOOP(v)                                                                            \
  asm volatile("1:\n" R1_FMA(v, 0) R1_FMA(v, 1) R1_FMA(v, 2) R1_FMA(v, 3) R1_FMA(v, 4)            \
                   R1_FMA(v, 5) R1_FMA(v, 6) R1_FMA(v, 7) R1_FMA(v, 8) R1_FMA(v, 9) R1_FMA(v, 10) \
                       R1_FMA(v, 11) "dec %0\njnz 1b\n"                                           \
               : "+r"(n)                                                                          \
               :                                                                                  \
               : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",    \
                 "xmm9", "xmm10", "xmm11", "xmm14", "xmm15")

int vector_floats() {
  if (__builtin_cpu_supports("avx512f")) return 16;
  return __builtin_cpu_supports("fma") ? 8 : 4;
}

void multiply_add(std::int64_t n) {
  switch (vector_floats()) {
    case 16:
      asm volatile("vpxorq %zmm14, %zmm14, %zmm14\nvpxorq %zmm15, %zmm15, %zmm15");
      R1_FMA_LOOP("zmm");
      break;
    case 8:
      asm volatile("vxorps %ymm14, %ymm14, %ymm14\nvxorps %ymm15, %ymm15, %ymm15");
      R1_FMA_LOOP("ymm");
      break;
    default:  // a multiplication and an addition, two instructions
      asm volatile(
          "xorps %%xmm14, %%xmm14\nxorps %%xmm15, %%xmm15\n"
          "1:\nmulps %%xmm15, %%xmm0\naddps %%xmm14, %%xmm1\nmulps %%xmm15, %%xmm2\n"
          "addps %%xmm14, %%xmm3\nmulps %%xmm15, %%xmm4\naddps %%xmm14, %%xmm5\n"
          "mulps %%xmm15, %%xmm6\naddps %%xmm14, %%xmm7\nmulps %%xmm15, %%xmm8\n"
          "addps %%xmm14, %%xmm9\nmulps %%xmm15, %%xmm10\naddps %%xmm14, %%xmm11\n"
          "mulps %%xmm15, %%xmm0\naddps %%xmm14, %%xmm1\nmulps %%xmm15, %%xmm2\n"
          "addps %%xmm14, %%xmm3\nmulps %%xmm15, %%xmm4\naddps %%xmm14, %%xmm5\n"
          "mulps %%xmm15, %%xmm6\naddps %%xmm14, %%xmm7\nmulps %%xmm15, %%xmm8\n"
          "addps %%xmm14, %%xmm9\nmulps %%xmm15, %%xmm10\naddps %%xmm14, %%xmm11\n"
          "dec %0\njnz 1b\n"
          : "+r"(n)
          :
          : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
            "xmm10", "xmm11", "xmm14", "xmm15");
  }
}

#else

constexpr int kFloats = 4;
int vector_floats() { return kFloats; }

void multiply_add(std::int64_t n) {
  typedef float Vec __attribute__((vector_size(16)));
  Vec sum[12] = {}, x = {}, y = {};
  asm volatile("" : "+w"(x), "+w"(y));
  for (; n > 0; --n)
    for (Vec& s : sum) {
      s += x * y;
      asm volatile("" : "+w"(s));
    }
}

#endif

// Exclusive or of n words, read as four streams, which some memory systems serve faster than one.
std::uint64_t read_all(const std::uint64_t* p, std::size_t n) {
  constexpr std::size_t kStreams = 4, kLine = 8;
  const std::size_t part = n / kStreams;
  std::uint64_t sum[kLine] = {};
  for (std::size_t i = 0; i + kLine <= part; i += kLine)
    for (std::size_t s = 0; s < kStreams; ++s) {
      const std::uint64_t* line = p + s * part + i;
      for (std::size_t j = 0; j < kLine; ++j) sum[j] ^= line[j];
    }
  std::uint64_t all = 0;
  for (const std::uint64_t x : sum) all ^= x;
  return all;
}

}  // namespace

// Many short runs rather than a few long ones: on a busy machine some of them stay undisturbed.

double fma_peak(int threads) {
  constexpr std::int64_t kSteps = 300'000;
  double best = 1e300;
  for (int run = 0; run < 200; ++run)
    best = std::min(best, timed(threads, [](int) { multiply_add(kSteps); }));
  return threads * static_cast<double>(kSteps) * 12 * 2 * vector_floats() / best * 1e-9;
}

double read_bandwidth(int threads) {
  // Runs take one piece after the other; until they return to the first, the others, 240 MB, have
  // pushed it out of the caches.
  constexpr std::size_t kPieces = 16, kWords = std::size_t{1} << 21;
  std::vector<std::uint64_t> memory(kPieces * kWords, 1);
  const std::size_t part = kWords / static_cast<std::size_t>(threads);
  double best = 1e300;
  std::atomic<std::uint64_t> sink{0};
  for (std::size_t run = 0; run < 4 * kPieces; ++run) {
    const std::uint64_t* piece = memory.data() + run % kPieces * kWords;
    best = std::min(best, timed(threads, [&](int t) {
                      sink ^= read_all(piece + part * static_cast<std::size_t>(t), part);
                    }));
  }
  return static_cast<double>(part) * threads * sizeof(std::uint64_t) / best * 1e-9;
}

const char* widest_vectors() {
  switch (vector_floats()) {
    case 16:
      return "512-bit";
    case 8:
      return "256-bit";
    default:
      return "128-bit";
  }
}

}  // namespace r1::bench
