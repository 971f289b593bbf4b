// r1_bench [PART...] [--threads N]: runs the parts named (all without names) on 1 and on N threads.
#include <fmt/format.h>

#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

#include "bench/bench.h"
#include "tensor/cpu/isa/isa.h"
#include "tensor/parallel.h"

namespace {

struct Part {
  const char* name;
  void (*run)(int threads);
};

constexpr Part kParts[] = {{"gemm", &r1::bench::gemm_bench}};

int run(const std::vector<std::string>& arguments) {
  std::vector<std::string> names;
  int threads = r1::thread_count();
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "--threads" && i + 1 < arguments.size()) {
      threads = std::atoi(arguments[++i].c_str());
    } else {
      names.push_back(arguments[i]);
    }
  }
  fmt::print("instruction set {}\n", r1::cpu::isa().name);
  std::vector<int> counts = {1};
  if (threads > 1) counts.push_back(threads);
  bool ran = false;
  for (const Part& part : kParts) {
    if (!names.empty() && std::find(names.begin(), names.end(), part.name) == names.end()) continue;
    ran = true;
    for (const int n : counts) {
      r1::set_thread_count(n);
      part.run(n);
    }
  }
  if (ran) return 0;
  fmt::print(stderr, "r1_bench: no such part; there are:");
  for (const Part& part : kParts) fmt::print(stderr, " {}", part.name);
  fmt::print(stderr, "\n");
  return 2;
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
