#include "nn/batch.h"

namespace r1::nn {

Batch make_batch(const ModelConfig& config, std::span<const Example> examples) {
  std::vector<std::vector<std::int32_t>> sequences;
  std::vector<std::int32_t> rows, targets;
  std::int32_t row = 0;
  for (const Example& e : examples) {
    sequences.push_back(e.ids);
    for (std::size_t t = 0; t < e.ids.size(); ++t, ++row) {
      if (!e.learns(t)) continue;
      rows.push_back(row - 1);
      targets.push_back(e.ids[t]);
    }
  }
  const Shape shape{static_cast<std::int64_t>(rows.size())};
  return {pack_sequences(config, sequences), Tensor::from(rows, shape),
          Tensor::from(targets, shape)};
}

std::vector<std::size_t> split_by_tokens(std::span<const Example> examples,
                                         std::int64_t max_tokens) {
  std::vector<std::size_t> ends;
  std::int64_t tokens = 0;
  for (std::size_t i = 0; i < examples.size(); ++i) {
    const auto n = static_cast<std::int64_t>(examples[i].ids.size());
    if (i > 0 && tokens + n > max_tokens && tokens > 0) {
      ends.push_back(i);
      tokens = 0;
    }
    tokens += n;
  }
  if (!examples.empty()) ends.push_back(examples.size());
  return ends;
}

Tensor target_logprobs(Transformer& model, const Batch& batch, double temperature) {
  const Tensor h = gather_rows(model.hidden(batch.tokens), batch.rows);
  return linear_logprob(h, model.head(), batch.targets, {.temperature = temperature}).logprob;
}

std::vector<std::vector<double>> score(Transformer& model,
                                       std::span<const std::vector<std::int32_t>> sequences,
                                       double temperature, std::int64_t max_tokens) {
  const Pause pause;
  std::vector<Example> examples;
  for (const auto& s : sequences) examples.push_back({s, {}});
  std::vector<std::vector<double>> out;
  std::size_t begin = 0;
  for (const std::size_t end : split_by_tokens(examples, max_tokens)) {
    const auto run = std::span(examples).subspan(begin, end - begin);
    const Batch batch = make_batch(model.config(), run);
    std::vector<double> all;
    if (batch.count() > 0) all = target_logprobs(model, batch, temperature).to_vector();
    std::size_t at = 0;
    for (const Example& e : run) {
      const auto n = static_cast<std::size_t>(e.targets());
      out.emplace_back(all.begin() + static_cast<std::ptrdiff_t>(at),
                       all.begin() + static_cast<std::ptrdiff_t>(at + n));
      at += n;
    }
    begin = end;
  }
  return out;
}

}  // namespace r1::nn
