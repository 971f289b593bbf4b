// What the parts of r1_bench share.
#pragma once

#include <algorithm>
#include <chrono>
#include <vector>

namespace r1::bench {

struct Timing {
  double best = 0, median = 0;  // seconds a call
};

// Calls f once to warm up, then for about `budget` seconds (at least five times).
template <class F>
Timing time_calls(F&& f, double budget = 0.3) {
  using Clock = std::chrono::steady_clock;
  f();
  std::vector<double> seconds;
  double total = 0;
  while (seconds.size() < 5 || (total < budget && seconds.size() < 2000)) {
    const auto begin = Clock::now();
    f();
    seconds.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
    total += seconds.back();
  }
  std::sort(seconds.begin(), seconds.end());
  return {seconds.front(), seconds[seconds.size() / 2]};
}

// The parts; each prints its own table for the given number of threads.
void gemm_bench(int threads);
void attention_bench(int threads);
void rows_bench(int threads);

}  // namespace r1::bench
