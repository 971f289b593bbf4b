#include "nn/config.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tensor/error.h"

namespace r1::nn {
namespace {

nlohmann::json small() {
  return {{"model_type", "llama"},  {"hidden_size", 32},        {"intermediate_size", 48},
          {"num_hidden_layers", 2}, {"num_attention_heads", 4}, {"num_key_value_heads", 2},
          {"vocab_size", 50},       {"rope_theta", 500.0}};
}

TEST(ModelConfig, DefaultsOfTransformers) {
  const ModelConfig c = config_from_json(small(), "config.json");
  EXPECT_EQ(c.head_dim, 8);
  EXPECT_EQ(c.max_positions, 2048);
  EXPECT_EQ(c.rope.theta, 500);
  EXPECT_FALSE(c.tied || c.qkv_bias || c.qk_norm);
}

TEST(ModelConfig, OldAndNewRopeKeysAreOneThing) {
  nlohmann::json old_keys = small(), new_keys = small();
  const nlohmann::json scaling = {{"factor", 8.0},
                                  {"low_freq_factor", 1.0},
                                  {"high_freq_factor", 4.0},
                                  {"original_max_position_embeddings", 32}};
  old_keys["rope_scaling"] = scaling;
  old_keys["rope_scaling"]["type"] = "llama3";
  new_keys.erase("rope_theta");
  new_keys["rope_parameters"] = scaling;
  new_keys["rope_parameters"]["rope_type"] = "llama3";
  new_keys["rope_parameters"]["rope_theta"] = 500.0;
  const auto a = config_from_json(old_keys, "old"), b = config_from_json(new_keys, "new");
  EXPECT_EQ(rope_frequencies(a.rope, 8), rope_frequencies(b.rope, 8));
  EXPECT_NE(rope_frequencies(a.rope, 8), rope_frequencies(config_from_json(small(), "c").rope, 8));
}

TEST(ModelConfig, WrongValuesAreNamed) {
  const std::vector<std::tuple<const char*, nlohmann::json, const char*>> cases = {
      {"model_type", "bloom", "llama, qwen2, qwen3"},
      {"hidden_act", "gelu", "hidden_act"},
      {"num_attention_heads", 64, "head_dim 0"},
      {"num_key_value_heads", 3, "no multiple"},
      {"hidden_size", -1, "hidden_size"},
      {"hidden_size", "32", "expected integer"},
      {"vocab_size", 0, "vocab_size"},
      {"head_dim", 7, "head_dim 7"},
      {"rms_norm_eps", 2, "rms_norm_eps"},
      {"rope_scaling", {{"type", "yarn"}}, "default, linear, llama3"},
      {"use_sliding_window", true, "use_sliding_window"},
      {"quantization_config", {{"bits", 4}}, "quantization_config"},
      {"eos_token_id", {1, "a"}, "eos_token_id"}};
  for (const auto& [key, value, part] : cases) {
    nlohmann::json j = small();
    j[key] = value;
    try {
      config_from_json(j, "config.json");
      ADD_FAILURE() << key;
    } catch (const Error& e) {
      const std::string text = e.what();
      EXPECT_NE(text.find(part), std::string::npos) << text;
      EXPECT_EQ(text.find("config.json"), 0u) << text;
    }
  }
}

}  // namespace
}  // namespace r1::nn
