// A program of one's own on the installed libraries: continues token ids with a model.
//   embed MODEL ID...     e.g. embed models/SmolLM2-135M-Instruct.Q4_1.gguf 504 1913 314
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <vector>

#include "nn/generate.h"
#include "nn/load.h"

int main(int argc, char** argv) {
  if (argc < 3) return std::fprintf(stderr, "usage: embed MODEL ID...\n"), 2;
  try {
    const auto source = r1::nn::ModelSource::open(argv[1]);
    const auto model = source.load(r1::DType::f32);
    std::vector<std::int32_t> prompt;
    for (int i = 2; i < argc; ++i) prompt.push_back(std::atoi(argv[i]));
    r1::nn::Sampling greedy;
    greedy.temperature = 0;
    greedy.max_new_tokens = 8;
    greedy.stop_ids = source.stop_ids();
    for (const auto& c : r1::nn::generate(*model, {{prompt}}, greedy)) {
      for (const std::int32_t id : c.ids) std::printf("%d ", id);
    }
    std::printf("\n");
  } catch (const std::exception& e) {
    std::fprintf(stderr, "embed: %s\n", e.what());
    return 1;
  }
}
