// The decoder-only transformer, driven by ModelConfig: pre-norm blocks of attention and
// feed-forward, a final norm, a head that may share the embedding matrix.
#pragma once

#include <string>
#include <vector>

#include "nn/attention.h"
#include "nn/mlp.h"

namespace r1::nn {

struct Block {
  Parameter input_norm, post_attention_norm;  // (D)
  Attention attention;
  Mlp mlp;

  explicit Block(const ModelConfig& c) : attention(c) {}
};

class Transformer {
 public:
  // Parameters without numbers: nn/load.h fills them, or initialise().
  explicit Transformer(const ModelConfig& config, DType dtype);
  Transformer(const Transformer&) = delete;
  Transformer& operator=(const Transformer&) = delete;

  const ModelConfig& config() const { return config_; }
  DType dtype() const { return dtype_; }

  // Hidden states (N, D) after the final norm.
  Tensor hidden(const Tokens& tokens);
  // Logits (N, V) of hidden states.
  Tensor logits(const Tensor& h);
  // The head's matrix (V, D): lm_head, or the embedding when they are tied.
  Parameter& head() { return config_.tied ? embed_ : head_; }

  // All parameters with their Hugging Face names, in order of computation; a tied head appears
  // once, as the embedding.
  ParameterList parameters();
  std::int64_t parameter_count();
  void zero_grad();

  // Recompute each block in backward instead of keeping its activations.
  void set_recompute(bool on) { recompute_ = on; }
  // An empty cache for this model.
  KvCache make_cache(std::int64_t slots, std::int64_t capacity) const;

  // Calls f(name, parameter, shape) for every parameter.
  template <class F>
  void visit(F&& f) {
    const ModelConfig& c = config_;
    const Shape norm{c.hidden_size};
    f("model.embed_tokens.weight", embed_, Shape{c.vocab_size, c.hidden_size});
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      Block& b = blocks_[i];
      const std::string p = "model.layers." + std::to_string(i) + ".";
      f(p + "input_layernorm.weight", b.input_norm, norm);
      b.attention.visit(f, p + "self_attn.", c);
      f(p + "post_attention_layernorm.weight", b.post_attention_norm, norm);
      b.mlp.visit(f, p + "mlp.", c);
    }
    f("model.norm.weight", norm_, norm);
    if (!c.tied) f("lm_head.weight", head_, Shape{c.vocab_size, c.hidden_size});
  }

 private:
  Tensor block(const Tensor& x, const Tokens& tokens, std::size_t layer);
  const RopeTable& angles(const Tokens& tokens);

  ModelConfig config_;
  DType dtype_;
  Parameter embed_, norm_, head_;
  std::vector<Block> blocks_;
  RopeTable rope_;  // grows to the longest position seen
  bool recompute_ = false;
};

// Random weights as transformers gives them to a new model: matrices and embeddings
// N(0, initializer_range), biases 0, norms 1; a pure function of the seed and the order of the
// names.
void initialise(Transformer& model, std::uint64_t seed);

// One packed batch of whole sequences, positions from 0 in each. Throws Error when a sequence is
// longer than the model allows or an id is outside its vocabulary.
Tokens pack_sequences(const ModelConfig& config,
                      std::span<const std::vector<std::int32_t>> sequences);

}  // namespace r1::nn
