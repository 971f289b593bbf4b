// r1_bench [PART...] [--threads N]: the parts named (all without names) on 1 and on N threads.
// r1_bench --json [ROW...] [--reps N]: rows of whole models (models_bench.h) as JSON lines, on N
// threads; `of_peak` is the share of the machine's multiply-add peak, measured first.
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

#include "bench/bench.h"
#include "bench/models_bench.h"
#include "bench/peak.h"
#include "tensor/cpu/isa/isa.h"
#include "tensor/parallel.h"

namespace {

using r1::bench::ModelRow;

void print_json(const ModelRow& r, double peak) {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  double load = 0;
  getloadavg(&load, 1);
  fmt::print(
      "{{\"what\": \"{}\", \"tok_s\": {:.1f}, \"min\": {:.1f}, \"max\": {:.1f}, \"n\": {}, "
      "\"sec\": {:.4f}, \"gflop_s\": {:.1f}, \"of_peak\": {:.3f}, \"loss_of_first_step\": {:.5f}, "
      "\"rss_mib\": {}, \"load\": \"{:.2f}\"}}\n",
      r.what, r.tokens_per_second, r.min, r.max, r.n, r.seconds, r.gflops, r.gflops / peak, r.loss,
      usage.ru_maxrss / 1024, load);
  std::fflush(stdout);
}

void models_bench(int threads) {
  const double peak = r1::bench::fma_peak(threads);
  fmt::print("models, {} thread{}, FMA peak {:.0f} GFLOP/s, memory read {:.1f} GB/s\n", threads,
             threads > 1 ? "s" : "", peak, r1::bench::read_bandwidth(threads));
  for (const std::string& id : r1::bench::model_rows()) {
    const ModelRow r = r1::bench::run_model_row(id, threads);
    fmt::print(
        "  {:<7} {:<32} {:>9.1f} tokens/s ({:.1f} to {:.1f})  {:6.1f} GFLOP/s, {:3.0f} % of peak\n",
        id, r.what, r.tokens_per_second, r.min, r.max, r.gflops, 100 * r.gflops / peak);
  }
}

struct Part {
  const char* name;
  void (*run)(int threads);
};

constexpr Part kParts[] = {{"gemm", &r1::bench::gemm_bench},
                           {"attention", &r1::bench::attention_bench},
                           {"rows", &r1::bench::rows_bench},
                           {"models", &models_bench}};

int unknown(const std::string& name) {
  fmt::print(stderr, "r1_bench: no part {}; there are:", name);
  for (const Part& part : kParts) fmt::print(stderr, " {}", part.name);
  fmt::print(stderr, "\n");
  return 2;
}

int run_json(const std::vector<std::string>& ids, int threads, int reps) {
  r1::set_thread_count(threads);
  const double peak = r1::bench::fma_peak(threads);
  for (const std::string& id : ids.empty() ? r1::bench::model_rows() : ids) {
    print_json(r1::bench::run_model_row(id, threads, reps), peak);
  }
  return 0;
}

int run(const std::vector<std::string>& arguments) {
  std::vector<std::string> names;
  int threads = r1::thread_count(), reps = 0;
  bool json = false;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "--threads" && i + 1 < arguments.size()) {
      threads = std::max(1, std::atoi(arguments[++i].c_str()));
    } else if (arguments[i] == "--reps" && i + 1 < arguments.size()) {
      reps = std::max(1, std::atoi(arguments[++i].c_str()));
    } else if (arguments[i] == "--json") {
      json = true;
    } else {
      names.push_back(arguments[i]);
    }
  }
  if (json) return run_json(names, threads, reps);
  for (const std::string& name : names) {
    if (std::none_of(std::begin(kParts), std::end(kParts),
                     [&](const Part& p) { return name == p.name; })) {
      return unknown(name);
    }
  }
  fmt::print("instruction set {}\n", r1::cpu::isa().name);
  std::vector<int> counts = {1};
  if (threads > 1) counts.push_back(threads);
  for (const Part& part : kParts) {
    if (!names.empty() && std::find(names.begin(), names.end(), part.name) == names.end()) continue;
    for (const int n : counts) {
      r1::set_thread_count(n);
      part.run(n);
    }
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run({argv + 1, argv + argc});
  } catch (const std::exception& e) {
    fmt::print(stderr, "r1_bench: {}\n", e.what());
    return 1;
  }
}
