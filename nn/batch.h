// What a loss sees of a packed batch: which rows predict which tokens.
#pragma once

#include <span>
#include <vector>

#include "data/dataset.h"
#include "nn/transformer.h"

namespace r1::nn {

struct Batch {
  Tokens tokens;
  Tensor rows;     // (M) i32: row of `tokens` whose hidden state predicts target m
  Tensor targets;  // (M) i32
  std::int64_t count() const { return targets.numel(); }  // M
};

// Throws Error as pack_sequences does.
Batch make_batch(const ModelConfig& config, std::span<const Example> examples);

// Cuts examples into runs of at most `max_tokens` tokens each, in order; a longer example stands
// alone. Gives the end index of every run.
std::vector<std::size_t> split_by_tokens(std::span<const Example> examples,
                                         std::int64_t max_tokens);

// log pi(target) of every target of the batch, (M), on the current tape.
Tensor target_logprobs(Transformer& model, const Batch& batch, double temperature = 1);

// The same without a tape for whole sequences, tokens 2 .. n of each, in passes of at most
// `max_tokens` tokens. The numbers are those that training computes, to the bit.
std::vector<std::vector<double>> score(Transformer& model,
                                       std::span<const std::vector<std::int32_t>> sequences,
                                       double temperature = 1, std::int64_t max_tokens = 2048);

}  // namespace r1::nn
