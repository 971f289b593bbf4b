// Batched sampling with a key/value cache. Every completion is a function of the weights, its
// prompt, the seed and its sample number alone: who else is in the batch changes no bit.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "nn/transformer.h"

namespace r1::nn {

struct Sampling {
  double temperature = 1;  // 0: greedy
  double top_p = 1;        // 1: off
  double min_p = 0;        // 0: off
  std::int64_t top_k = 0;  // 0: off
  std::int64_t max_new_tokens = 128;
  std::int64_t samples = 1;            // completions of each prompt
  std::vector<std::int32_t> stop_ids;  // drawing one of them ends a completion; it is kept
  std::uint64_t seed = 0;
  std::int64_t max_batch = 32;  // rows decoded together at most

  void check() const;  // throws Error naming the first value out of range
};

enum class FinishReason { stop, length };

struct Completion {
  std::int64_t prompt = 0;        // index of its prompt
  std::int64_t sample = 0;        // from 0
  std::vector<std::int32_t> ids;  // generated ones only, a drawn stop id included
  std::vector<double> logprobs;   // log softmax(logits / T)[id], before any truncation
  FinishReason finish_reason = FinishReason::length;
};

// Called for every new token, in the order in which tokens are drawn. Returning false ends
// generation early (what was drawn so far is returned).
using OnToken = std::function<bool(const Completion& so_far)>;

// Completions ordered by prompt, then sample. The prompt of several samples is computed once;
// finished rows make room for waiting ones. A completion also ends, by length, where the model's
// max_position_embeddings ends. Throws Error for an empty prompt, an id outside the vocabulary or
// a prompt longer than the model allows.
std::vector<Completion> generate(Transformer& model,
                                 std::span<const std::vector<std::int32_t>> prompts,
                                 const Sampling& sampling, const OnToken& on_token = {});

// The uniform number behind the token at `position` (0 = first new one) of a sample: keyed by
// (seed, prompt, sample, position) through a hash of the prompt's ids.
double sampling_noise(std::uint64_t seed, std::span<const std::int32_t> prompt, std::int64_t sample,
                      std::int64_t position);

}  // namespace r1::nn
