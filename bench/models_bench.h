// Whole models: training steps, decoding, prompts. Rows T-a T-b T-c (training step), D-a-1 D-a-8
// D-a-32 (decoding with sampling), P-a (a prompt of 512 tokens); shapes a SmolLM2-135M, b tiny
// (d 64), c small (d 256), as docs/performance.md describes them.
#pragma once

#include <string>
#include <vector>

namespace r1::bench {

struct ModelRow {
  std::string what;                                             // "train a r1 2t"
  double tokens_per_second = 0, min = 0, max = 0, seconds = 0;  // median over n repetitions
  int n = 0;
  double gflops = 0;  // useful causal FLOPs of the median, in GFLOP/s
  double loss = 0;    // of the first training step, else 0
};

// The row named `id`; weights come from SMOL_HF (or models/*.gguf) and PEERS_WORK/model_{b,c} when
// they exist, else from a random generator: the work is the same. `reps` timed repetitions after
// two that are not; 0: as many as the row usually has.
ModelRow run_model_row(const std::string& id, int threads, int reps = 0);

const std::vector<std::string>& model_rows();  // all ids

}  // namespace r1::bench
