#include "nn/transformer.h"

#include <algorithm>

#include "tensor/allocator.h"
#include "tensor/parallel.h"
#include "tensor/random.h"

namespace r1::nn {

Transformer::Transformer(const ModelConfig& config, DType dtype) : config_(config), dtype_(dtype) {
  for (std::int64_t i = 0; i < config.layers; ++i) blocks_.emplace_back(config);
}

const RopeTable& Transformer::angles(const Tokens& tokens) {
  const std::int64_t have = rope_.cos.defined() ? rope_.cos.rows() : 0;
  std::int64_t need = 0;
  const auto* p = tokens.positions.data<std::int32_t>();
  for (std::int64_t i = 0; i < tokens.positions.numel(); ++i) {
    need = std::max<std::int64_t>(need, p[i] + 1);
  }
  R1_CHECK(need <= config_.max_positions, "model: position {} is beyond max_position_embeddings {}",
           need - 1, config_.max_positions);
  if (need > have) {
    const std::int64_t size =
        std::min(config_.max_positions, std::max<std::int64_t>(256, 2 * need));
    rope_ = rope_table(config_.rope, config_.head_dim, size, dtype_);
  }
  return rope_;
}

Tensor Transformer::block(const Tensor& x, const Tokens& tokens, std::size_t layer) {
  Block& b = blocks_[layer];
  const Tensor a = rms_norm(x, b.input_norm, config_.rms_norm_eps);
  const Tensor h = add(x, b.attention.forward(a, tokens, rope_, static_cast<std::int64_t>(layer)));
  return add(h, b.mlp.forward(rms_norm(h, b.post_attention_norm, config_.rms_norm_eps)));
}

Tensor Transformer::hidden(const Tokens& tokens) {
  const memory::Scope scope("activations");
  angles(tokens);
  Tensor x = embedding(embed_, tokens.ids);
  for (std::size_t l = 0; l < blocks_.size(); ++l) {
    if (recompute_ && tokens.cache == nullptr) {
      x = recompute([this, tokens, l](const Tensor& in) { return block(in, tokens, l); }, x);
    } else {
      x = block(x, tokens, l);
    }
  }
  return rms_norm(x, norm_, config_.rms_norm_eps);
}

Tensor Transformer::logits(const Tensor& h) { return linear(h, head()); }

ParameterList Transformer::parameters() {
  ParameterList list;
  visit([&](const std::string& name, Parameter& p, const Shape&) { list.push_back({name, &p}); });
  return list;
}

std::int64_t Transformer::parameter_count() {
  std::int64_t n = 0;
  visit([&](const std::string&, Parameter&, const Shape& s) { n += s.numel(); });
  return n;
}

void Transformer::zero_grad() {
  visit([](const std::string&, Parameter& p, const Shape&) { p.zero_grad(); });
}

KvCache Transformer::make_cache(std::int64_t slots, std::int64_t capacity) const {
  return KvCache(config_.layers, Attention(config_).shape, slots, capacity, dtype_);
}

void initialise(Transformer& model, std::uint64_t seed) {
  const memory::Scope scope("weights");
  const Random random(seed, Purpose::init);
  const double range = model.config().initializer_range;
  std::uint32_t index = 0;
  model.visit([&](const std::string& name, Parameter& p, const Shape& shape) {
    const std::uint32_t parameter = index++;
    p.value_changed();
    if (shape.rank() < 2) {
      p.value = Tensor::full(shape, name.ends_with(".bias") ? 0 : 1, model.dtype());
      return;
    }
    p.value = Tensor::empty(shape, model.dtype());
    dispatch_float(model.dtype(), "initialise", [&]<class T>() {
      T* values = p.value.data<T>();
      parallel_ranges(shape.numel(), 1 << 14, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
          values[i] =
              static_cast<T>(range * random.normal(static_cast<std::uint32_t>(i),
                                                   static_cast<std::uint32_t>(i >> 32), parameter));
        }
      });
    });
  });
}

Tokens pack_sequences(const ModelConfig& config,
                      std::span<const std::vector<std::int32_t>> sequences) {
  std::vector<std::int32_t> ids, positions;
  Tokens tokens;
  for (const std::vector<std::int32_t>& s : sequences) {
    const auto length = static_cast<std::int64_t>(s.size());
    R1_CHECK(length <= config.max_positions,
             "sequence of {} tokens is longer than the model's max_position_embeddings {}: "
             "shorten it",
             length, config.max_positions);
    for (std::size_t t = 0; t < s.size(); ++t) {
      R1_CHECK(s[t] >= 0 && s[t] < config.vocab_size,
               "token id {} at place {} is outside the model's vocabulary of {}", s[t], t,
               config.vocab_size);
      positions.push_back(static_cast<std::int32_t>(t));
    }
    tokens.segments.push_back({static_cast<std::int64_t>(ids.size()), length, 0, 0});
    ids.insert(ids.end(), s.begin(), s.end());
  }
  const Shape shape{static_cast<std::int64_t>(ids.size())};
  tokens.ids = Tensor::from(ids, shape);
  tokens.positions = Tensor::from(positions, shape);
  return tokens;
}

}  // namespace r1::nn
