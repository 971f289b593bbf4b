// GGUF models as Hugging Face models: names, configuration and the row order of q and k.
// Architectures: llama, qwen2, qwen3, dense.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "data/gguf.h"
#include "tensor/tensor.h"

namespace r1 {

// "blk.3.attn_q.weight" -> "model.layers.3.self_attn.q_proj.weight"; "" when there is no such name.
std::string hf_name(std::string_view gguf_name);
std::string gguf_name(std::string_view hf_name);

// A tensor with its Hugging Face name.
struct HfTensor {
  std::string name;
  const GgufTensor* tensor = nullptr;
  std::int64_t permuted_heads = 0;  // above 0: rows are in the order of llama files
};

// All weights. rope_freqs.weight is left out: it is part of the configuration. Throws Error for a
// tensor without a Hugging Face name. `file` must outlive the result.
std::vector<HfTensor> hf_tensors(const GgufFile& file);

// Reads and, where needed, puts the rows into Hugging Face order. dtype: f32, f64 or bf16.
Tensor read_tensor(const HfTensor& t, DType dtype, std::string_view where);

// The config.json of the model. Old and new keys for the rotary positions: rope_theta,
// rope_scaling and rope_parameters. When rope_freqs.weight is present and is llama3 scaling, its
// parameters are found again; otherwise its numbers, by which the frequencies are divided, are
// handed on under the key "rope_freq_factors" (not a key of Hugging Face). Throws Error for another
// architecture or a feature that the configuration could not express.
nlohmann::json hf_config(const GgufFile& file);

}  // namespace r1
