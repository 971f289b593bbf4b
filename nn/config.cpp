#include "nn/config.h"

#include <nlohmann/json.hpp>

#include "data/json.h"

namespace r1::nn {
namespace {

using json::Value;

constexpr const char* kKnown = "llama, qwen2, qwen3";
constexpr std::int64_t kMaxWidth = std::int64_t{1} << 20;  // far above any model

double positive_number(const Value& object, const char* key, double fallback,
                       const std::string& where) {
  const double x = json::get_number_or(object, key, fallback, where);
  R1_CHECK(x > 0 && x <= 1e12, "{}: {}: {} is not in (0, 1e12]", where, key, x);
  return x;
}

// The object that describes the rotary positions: new files have rope_parameters, old ones
// rope_scaling beside rope_theta.
RopeConfig rope_from_json(const Value& config, const std::string& where) {
  RopeConfig rope;
  rope.theta = positive_number(config, "rope_theta", 10000, where);
  const Value* r = json::find(config, "rope_parameters", where);
  if (r == nullptr) r = json::find(config, "rope_scaling", where);
  if (const Value* factors = json::find(config, "rope_freq_factors", where)) {
    R1_CHECK(factors->is_array(), "{}: rope_freq_factors: expected array", where);
    for (const Value& f : *factors) {
      R1_CHECK(f.is_number() && f.get<double>() > 0, "{}: rope_freq_factors: {} is not positive",
               where, json::printable(f.dump()));
      rope.factors.push_back(f.get<double>());
    }
  }
  if (r == nullptr) return rope;
  rope.theta = positive_number(*r, "rope_theta", rope.theta, where);
  const std::string old_key = json::get_string_or(*r, "type", "default", where);
  rope.type = json::get_string_or(*r, "rope_type", old_key, where);
  R1_CHECK(rope.type == "default" || rope.type == "linear" || rope.type == "llama3",
           "{}: rope_type \"{}\" is not supported; known are default, linear, llama3", where,
           json::printable(rope.type));
  if (rope.type == "default") return rope;
  rope.factor = positive_number(*r, "factor", 1, where);
  if (rope.type == "llama3") {
    rope.low_freq_factor = positive_number(*r, "low_freq_factor", 1, where);
    rope.high_freq_factor = positive_number(*r, "high_freq_factor", 4, where);
    rope.original_max_positions =
        positive_number(*r, "original_max_position_embeddings", 8192, where);
    R1_CHECK(rope.high_freq_factor > rope.low_freq_factor,
             "{}: high_freq_factor {} must be above low_freq_factor {}", where,
             rope.high_freq_factor, rope.low_freq_factor);
  }
  return rope;
}

std::string family(const Value& config, const std::string& where) {
  std::string type = json::get_string_or(config, "model_type", "", where);
  std::string architecture;
  if (const Value* a = json::find(config, "architectures", where)) {
    R1_CHECK(a->is_array() && !a->empty() && a->front().is_string(),
             "{}: architectures: expected a list of names", where);
    architecture = a->front().get<std::string>();
  }
  if (type.empty()) {
    if (architecture == "LlamaForCausalLM") type = "llama";
    if (architecture == "Qwen2ForCausalLM") type = "qwen2";
    if (architecture == "Qwen3ForCausalLM") type = "qwen3";
  }
  R1_CHECK(type == "llama" || type == "qwen2" || type == "qwen3",
           "{}: model_type \"{}\" (architecture \"{}\") is not supported; known are {}", where,
           json::printable(type), json::printable(architecture), kKnown);
  R1_CHECK(architecture.empty() || architecture.ends_with("ForCausalLM"),
           "{}: architecture \"{}\" is not a causal language model", where,
           json::printable(architecture));
  return type;
}

void refuse_unsupported(const Value& config, const std::string& where) {
  const std::string act = json::get_string_or(config, "hidden_act", "silu", where);
  R1_CHECK(act == "silu" || act == "swish", "{}: hidden_act \"{}\" is not supported; known is silu",
           where, json::printable(act));
  R1_CHECK(!json::get_bool_or(config, "use_sliding_window", false, where),
           "{}: use_sliding_window true is not supported: only full attention is", where);
  if (const Value* types = json::find(config, "layer_types", where)) {
    R1_CHECK(types->is_array(), "{}: layer_types: expected array", where);
    for (const Value& t : *types) {
      R1_CHECK(t.is_string() && t.get<std::string>() == "full_attention",
               "{}: layer_types: {} is not supported; known is full_attention", where,
               json::printable(t.dump()));
    }
  }
  R1_CHECK(json::find(config, "quantization_config", where) == nullptr,
           "{}: quantization_config is not supported: use an unquantised checkpoint or a GGUF file",
           where);
}

}  // namespace

std::vector<std::int32_t> token_ids(const Value& object, const char* key,
                                    const std::string& where) {
  std::vector<std::int32_t> ids;
  const Value* v = json::find(object, key, where);
  if (v == nullptr) return ids;
  auto one = [&](const Value& x) {
    R1_CHECK(x.is_number_integer(), "{}: {}: expected a token id or a list of them", where, key);
    const auto id = x.get<std::int64_t>();
    R1_CHECK(id >= 0 && id < (std::int64_t{1} << 31), "{}: {}: {} is not a token id", where, key,
             id);
    ids.push_back(static_cast<std::int32_t>(id));
  };
  if (v->is_array()) {
    for (const Value& x : *v) one(x);
  } else {
    one(*v);
  }
  return ids;
}

ModelConfig config_from_json(const Value& j, const std::string& where) {
  ModelConfig c;
  c.model_type = family(j, where);
  refuse_unsupported(j, where);
  auto width = [&](const char* key) { return json::get_int(j, key, where, 1, kMaxWidth); };
  c.hidden_size = width("hidden_size");
  c.intermediate_size = width("intermediate_size");
  c.layers = json::get_int(j, "num_hidden_layers", where, 1, 10000);
  c.heads = width("num_attention_heads");
  c.kv_heads = json::get_int_or(j, "num_key_value_heads", c.heads, where, 1, c.heads);
  c.vocab_size = json::get_int(j, "vocab_size", where, 1, std::int64_t{1} << 24);
  const std::int64_t default_dim = c.model_type == "qwen3" ? 128 : c.hidden_size / c.heads;
  c.head_dim = json::get_int_or(j, "head_dim", default_dim, where, 1, kMaxWidth);
  c.max_positions =
      json::get_int_or(j, "max_position_embeddings", c.model_type == "llama" ? 2048 : 32768, where,
                       1, std::int64_t{1} << 26);
  c.rms_norm_eps = json::get_number_or(j, "rms_norm_eps", 1e-6, where);
  R1_CHECK(c.rms_norm_eps >= 0 && c.rms_norm_eps < 1, "{}: rms_norm_eps: {} is not in [0, 1)",
           where, c.rms_norm_eps);
  c.initializer_range = json::get_number_or(j, "initializer_range", 0.02, where);
  R1_CHECK(c.initializer_range >= 0 && c.initializer_range <= 10,
           "{}: initializer_range: {} is not in [0, 10]", where, c.initializer_range);
  c.tied = json::get_bool_or(j, "tie_word_embeddings", false, where);
  R1_CHECK(c.heads % c.kv_heads == 0,
           "{}: num_attention_heads {} is no multiple of num_key_value_heads {}", where, c.heads,
           c.kv_heads);
  R1_CHECK(c.head_dim >= 2 && c.head_dim % 2 == 0,
           "{}: head_dim {} must be even and at least 2 for rotary positions", where, c.head_dim);
  const bool bias = json::get_bool_or(j, "attention_bias", false, where);
  c.qkv_bias = bias || c.model_type == "qwen2";
  c.o_bias = bias && c.model_type != "qwen2";
  c.mlp_bias = c.model_type == "llama" && json::get_bool_or(j, "mlp_bias", false, where);
  c.qk_norm = c.model_type == "qwen3";
  c.rope = rope_from_json(j, where);
  c.bos_ids = token_ids(j, "bos_token_id", where);
  c.eos_ids = token_ids(j, "eos_token_id", where);
  return c;
}

}  // namespace r1::nn
