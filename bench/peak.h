// What this machine can do at best, measured: the yardstick of every benchmark.
#pragma once

namespace r1::bench {

// f32 fused multiply-adds in registers with the widest vectors there are, in GFLOP/s, summed over
// `threads` threads that run at the same time; f64 is half of it. The best of several runs.
double fma_peak(int threads);

// Memory read in order, in GB/s (1e9 bytes), by `threads` threads together.
double read_bandwidth(int threads);

// Name of the vectors that fma_peak used.
const char* widest_vectors();

}  // namespace r1::bench
