#include "bench/models_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <functional>

#include "nn/batch.h"
#include "nn/load.h"
#include "optim/train_step.h"
#include "tensor/random.h"

namespace r1::bench {
namespace {

struct ModelShape {
  char name;
  std::int64_t d, layers, heads, kv_heads, ff, vocab, batch, length;
};
constexpr ModelShape kShapes[] = {{'a', 576, 30, 9, 3, 1536, 49152, 4, 256},
                                  {'b', 64, 3, 4, 4, 160, 96, 128, 40},
                                  {'c', 256, 6, 8, 8, 704, 4096, 16, 256}};

const ModelShape& shape_of(char name) {
  return *std::find_if(std::begin(kShapes), std::end(kShapes),
                       [&](const ModelShape& s) { return s.name == name; });
}

// Matrix FLOPs of one token, averaged over the positions of a causal sequence of T tokens; a
// training step does three times as many.
double forward_flops(const ModelShape& s, double T) {
  const double d = static_cast<double>(s.d), ff = static_cast<double>(s.ff);
  const double hd = d / static_cast<double>(s.heads), L = static_cast<double>(s.layers);
  const double blocks = L * (2 * d * d + 2 * d * static_cast<double>(s.kv_heads) * hd + 3 * d * ff);
  return 2 * blocks + 2 * static_cast<double>(s.vocab) * d + L * 4 * (T + 1) / 2 * d;
}

// t[i] = 3 + (7919 i + (i^2 mod 257)) mod (V - 3)
std::vector<std::int32_t> token_stream(std::int64_t n, std::int64_t vocab) {
  std::vector<std::int32_t> t;
  for (std::int64_t i = 0; i < n; ++i) {
    t.push_back(static_cast<std::int32_t>(3 + (7919 * i + (i * i) % 257) % (vocab - 3)));
  }
  return t;
}

std::string weights_path(char name) {
  const char* hf = std::getenv("SMOL_HF");
  const char* work = std::getenv("PEERS_WORK");
  std::vector<std::string> places;
  if (name == 'a') {
    if (hf != nullptr) places.emplace_back(hf);
    places.emplace_back("models/SmolLM2-135M-Instruct.Q4_1.gguf");
  } else if (work != nullptr) {
    places.push_back(std::string(work) + "/model_" + name);
  }
  for (const std::string& p : places) {
    if (std::filesystem::exists(p)) return p;
  }
  return "";
}

std::unique_ptr<nn::Transformer> load_shape(const ModelShape& s) {
  const std::string path = weights_path(s.name);
  if (!path.empty()) return nn::ModelSource::open(path).load(DType::f32);
  nn::ModelConfig c;
  c.model_type = "llama";
  c.hidden_size = s.d;
  c.intermediate_size = s.ff;
  c.layers = s.layers;
  c.heads = s.heads;
  c.kv_heads = s.kv_heads;
  c.head_dim = s.d / s.heads;
  c.vocab_size = s.vocab;
  c.max_positions = 1024;
  c.tied = s.name == 'a';
  auto model = std::make_unique<nn::Transformer>(c, DType::f32);
  nn::initialise(*model, 0);
  return model;
}

using Clock = std::chrono::steady_clock;
double seconds_of(const std::function<void()>& f) {
  const auto begin = Clock::now();
  f();
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

ModelRow row_of(std::string what, std::vector<double> seconds, double tokens, double flops) {
  std::sort(seconds.begin(), seconds.end());
  const std::size_t n = seconds.size();
  const double median = (seconds[(n - 1) / 2] + seconds[n / 2]) / 2;
  return {std::move(what), tokens / median,     tokens / seconds.back(), tokens / seconds.front(),
          median,          static_cast<int>(n), flops / median * 1e-9,   0};
}

ModelRow training(char name, int threads, int reps) {
  const ModelShape& s = shape_of(name);
  const auto model = load_shape(s);
  const std::vector<std::int32_t> stream = token_stream(s.batch * s.length, s.vocab);
  std::vector<Example> examples;
  for (std::int64_t b = 0; b < s.batch; ++b) {
    const auto* p = stream.data() + b * s.length;
    examples.push_back({{p, p + s.length}, {}});
  }
  optim::AdamW optimizer(model->parameters(), {.weight_decay = 0.01});
  const auto ends = nn::split_by_tokens(examples, 1280);
  double loss = 0;
  auto step = [&] {
    double targets = 0;
    for (const Example& e : examples) targets += static_cast<double>(e.targets());
    loss = optim::train_step(optimizer, ends.size(), targets,
                             [&](std::size_t i) {
                               const std::size_t begin = i == 0 ? 0 : ends[i - 1];
                               const nn::Batch batch = nn::make_batch(
                                   model->config(),
                                   std::span(examples).subspan(begin, ends[i] - begin));
                               return affine(sum(nn::target_logprobs(*model, batch)), -1, 0);
                             },
                             {.lr = 1e-4})
               .loss;
  };
  step();
  const double first_loss = loss;
  step();
  std::vector<double> seconds;
  for (int i = 0; i < reps; ++i) seconds.push_back(seconds_of(step));
  const double tokens = static_cast<double>(s.batch * s.length);
  ModelRow row = row_of(fmt::format("train {} r1 {}t", name, threads), seconds, tokens,
                        3 * tokens * forward_flops(s, static_cast<double>(s.length)));
  row.loss = first_loss;
  return row;
}

// One pass over `ids` that continue the slots of the cache.
Tensor forward(nn::Transformer& model, nn::KvCache& cache, const std::vector<std::int32_t>& ids,
               std::int64_t slots, std::int64_t position) {
  nn::Tokens tokens;
  const auto n = static_cast<std::int64_t>(ids.size()) / slots;
  std::vector<std::int32_t> positions;
  for (std::int64_t b = 0; b < slots; ++b) {
    tokens.cache_rows.push_back({b * n, n, b, position});
    for (std::int64_t i = 0; i < n; ++i) {
      positions.push_back(static_cast<std::int32_t>(position + i));
    }
  }
  const Shape shape{static_cast<std::int64_t>(ids.size())};
  tokens.ids = Tensor::from(ids, shape);
  tokens.positions = Tensor::from(positions, shape);
  tokens.cache = &cache;
  return model.hidden(tokens);
}

ModelRow decoding(std::int64_t slots, int threads, int reps) {
  constexpr std::int64_t kPrompt = 64, kNew = 256;
  const ModelShape& s = shape_of('a');
  const auto model = load_shape(s);
  const Random random(0, Purpose::test);
  std::vector<double> seconds;
  for (int repetition = 0; repetition < reps; ++repetition) {
    nn::KvCache cache = model->make_cache(slots, kPrompt + kNew);
    std::vector<std::int32_t> ids = token_stream(slots * kPrompt, s.vocab);
    forward(*model, cache, ids, slots, 0);
    ids.resize(static_cast<std::size_t>(slots));
    Tensor drawn = Tensor::empty({slots}, DType::i32),
           logprobs = Tensor::empty({slots}, DType::f32);
    seconds.push_back(seconds_of([&] {
      for (std::int64_t t = 0; t < kNew; ++t) {
        const Tensor logits = model->logits(forward(*model, cache, ids, slots, kPrompt + t));
        std::vector<SampleRow> how(static_cast<std::size_t>(slots));
        for (std::size_t b = 0; b < how.size(); ++b) {
          how[b].uniform =
              random.uniform(static_cast<std::uint32_t>(b), static_cast<std::uint32_t>(t));
        }
        kernels().sample(logits, how, s.vocab, drawn, logprobs);
        std::copy_n(drawn.data<std::int32_t>(), slots, ids.begin());
      }
    }));
  }
  const double tokens = static_cast<double>(slots * kNew);
  return row_of(fmt::format("decode a r1 {}t batch {} sampled", threads, slots), seconds, tokens,
                tokens * forward_flops(s, 2 * kPrompt + kNew));
}

ModelRow prompt(int threads, int reps) {
  constexpr std::int64_t kPrompt = 512;
  const ModelShape& s = shape_of('a');
  const auto model = load_shape(s);
  const std::vector<std::int32_t> ids = token_stream(kPrompt, s.vocab);
  const std::vector<std::int32_t> last{static_cast<std::int32_t>(kPrompt - 1)};
  nn::KvCache cache = model->make_cache(1, kPrompt);
  std::vector<double> seconds;
  for (int repetition = 0; repetition < reps + 1; ++repetition) {
    seconds.push_back(seconds_of([&] {
      const Tensor h = forward(*model, cache, ids, 1, 0);
      model->logits(gather_rows(h, Tensor::from(last, {1})));
    }));
  }
  seconds.erase(seconds.begin());  // packs the weights
  return row_of(fmt::format("prefill a r1 {}t 512 tokens", threads), seconds, kPrompt,
                kPrompt * forward_flops(s, kPrompt));
}

}  // namespace

const std::vector<std::string>& model_rows() {
  static const std::vector<std::string> ids{"T-a", "T-b", "T-c", "D-a-1", "D-a-8", "D-a-32", "P-a"};
  return ids;
}

ModelRow run_model_row(const std::string& id, int threads, int reps) {
  auto or_usual = [&](int usual) { return reps > 0 ? reps : usual; };
  if (id == "T-a" || id == "T-c") return training(id[2], threads, or_usual(5));
  if (id == "T-b") return training('b', threads, or_usual(30));
  if (id == "P-a") return prompt(threads, or_usual(5));
  if (id == "D-a-1") return decoding(1, threads, or_usual(3));
  if (id == "D-a-8") return decoding(8, threads, or_usual(3));
  if (id == "D-a-32") return decoding(32, threads, or_usual(3));
  fail("bench: there is no row {}", id);
}

}  // namespace r1::bench
