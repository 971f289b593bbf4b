// A model's shape, read from Hugging Face's config.json.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "nn/rope.h"

namespace r1::nn {

struct ModelConfig {
  std::string model_type;  // "llama", "qwen2" or "qwen3"
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t layers = 0;
  std::int64_t heads = 0;     // query heads
  std::int64_t kv_heads = 0;  // key/value heads
  std::int64_t head_dim = 0;  // need not be hidden_size / heads
  std::int64_t vocab_size = 0;
  std::int64_t max_positions = 0;
  double rms_norm_eps = 1e-6;
  double initializer_range = 0.02;
  bool tied = false;      // the head is the embedding
  bool qkv_bias = false;  // biases on q, k, v
  bool o_bias = false;
  bool mlp_bias = false;
  bool qk_norm = false;  // norms on each head of q and k
  RopeConfig rope;
  std::vector<std::int32_t> bos_ids, eos_ids;
};

// Reads the keys of transformers 4 (rope_theta, rope_scaling) and 5 (rope_parameters). Throws
// Error naming file, key and value for an unknown architecture, activation or rope type, sliding
// windows in use, and numbers out of range. `where` names the file.
ModelConfig config_from_json(const nlohmann::json& config, const std::string& where);

// eos_token_id or bos_token_id: an integer, a list, or nothing.
std::vector<std::int32_t> token_ids(const nlohmann::json& object, const char* key,
                                    const std::string& where);

}  // namespace r1::nn
