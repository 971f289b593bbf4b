#include "data/gguf_names.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>

#include "data/gguf_quants.h"
#include "data/half.h"
#include "data/json.h"
#include "data/safetensors.h"
#include "tensor/error.h"

namespace r1 {
namespace {

const std::string kGolden = R1_GOLDEN_DIR;

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
    return e.what();
  }
  return "no error";
}

// The Hugging Face folder from which golden/gguf/NAME.gguf was made, "" when it is not here.
std::string model_folder(const std::string& name) {
  for (const std::string& root : {kGolden, std::string(R1_SHARED_DIR) + "/golden"}) {
    const std::string folder = root + "/models/" + name;
    if (std::filesystem::exists(folder + "/model.safetensors")) return folder;
  }
  return "";
}

constexpr const char* kModels[] = {"llama_plain", "llama3_rope", "qwen3"};

TEST(GgufNames, MapBothWays) {
  const std::pair<const char*, const char*> kPairs[] = {
      {"token_embd.weight", "model.embed_tokens.weight"},
      {"output_norm.weight", "model.norm.weight"},
      {"output.weight", "lm_head.weight"},
      {"blk.0.attn_norm.weight", "model.layers.0.input_layernorm.weight"},
      {"blk.1.attn_q.weight", "model.layers.1.self_attn.q_proj.weight"},
      {"blk.10.attn_k.bias", "model.layers.10.self_attn.k_proj.bias"},
      {"blk.2.attn_v.weight", "model.layers.2.self_attn.v_proj.weight"},
      {"blk.3.attn_output.weight", "model.layers.3.self_attn.o_proj.weight"},
      {"blk.3.attn_q_norm.weight", "model.layers.3.self_attn.q_norm.weight"},
      {"blk.3.attn_k_norm.weight", "model.layers.3.self_attn.k_norm.weight"},
      {"blk.3.ffn_norm.weight", "model.layers.3.post_attention_layernorm.weight"},
      {"blk.3.ffn_gate.weight", "model.layers.3.mlp.gate_proj.weight"},
      {"blk.3.ffn_up.weight", "model.layers.3.mlp.up_proj.weight"},
      {"blk.3.ffn_down.weight", "model.layers.3.mlp.down_proj.weight"}};
  for (const auto& [gguf, hf] : kPairs) {
    EXPECT_EQ(hf_name(gguf), hf);
    EXPECT_EQ(gguf_name(hf), gguf);
  }
  for (const char* name : {"", "blk", "blk.", "blk.0", "blk.0.weight", "blk.x.attn_q.weight",
                           "blk.01.attn_q.weight", "blk.9999999.attn_q.weight", "blk.0.attn_q",
                           "blk.0.attn_q.scale", "blk.0.ffn_gate_inp.weight", "rope_freqs.weight",
                           "blk.-1.attn_q.weight", "model.norm.weight"})
    EXPECT_EQ(hf_name(name), "") << name;
}

TEST(GgufNames, WeightsAreThoseOfTheModel) {
  if (model_folder("qwen3").empty()) GTEST_SKIP() << "no model folders";
  for (const std::string name : kModels) {
    const auto file = GgufFile::open(kGolden + "/gguf/" + name + ".gguf");
    const auto model = SafetensorsFolder::open(model_folder(name));
    const auto tensors = hf_tensors(file);
    EXPECT_EQ(tensors.size(), model.size()) << name;
    for (const HfTensor& t : tensors) {
      const TensorEntry* e = model.find(t.name);
      ASSERT_NE(e, nullptr) << t.name;
      const Tensor ours = read_tensor(t, DType::f32, file.where());
      Tensor theirs = read_tensor(*e, DType::f32, model.where());
      if (t.tensor->type == GgmlType::f16) {
        for (std::int64_t i = 0; i < theirs.numel(); ++i) {
          float& x = theirs.data<float>()[i];
          x = f16_to_f32(f32_to_f16(x));
        }
      }
      EXPECT_EQ(ours.shape(), theirs.shape()) << t.name;
      EXPECT_EQ(ours.to_vector(), theirs.to_vector()) << name << " " << t.name;
    }
  }
}

TEST(GgufNames, ConfigIsThatOfTheModel) {
  if (model_folder("qwen3").empty()) GTEST_SKIP() << "no model folders";
  for (const std::string name : kModels) {
    const auto config = hf_config(GgufFile::open(kGolden + "/gguf/" + name + ".gguf"));
    const auto expected = json::read_file(model_folder(name) + "/config.json");
    for (const char* key :
         {"architectures", "model_type", "hidden_size", "intermediate_size", "num_hidden_layers",
          "num_attention_heads", "num_key_value_heads", "max_position_embeddings", "rms_norm_eps",
          "vocab_size", "hidden_act", "tie_word_embeddings", "attention_bias"})
      EXPECT_EQ(config.at(key), expected.at(key)) << name << " " << key;
    if (expected.contains("head_dim")) {
      EXPECT_EQ(config.at("head_dim"), expected.at("head_dim")) << name;
    }
    if (expected.contains("rope_parameters")) {
      EXPECT_EQ(config.at("rope_parameters"), expected.at("rope_parameters")) << name;
    } else {
      EXPECT_EQ(config.at("rope_theta"), expected.at("rope_theta")) << name;
      EXPECT_EQ(config.at("rope_scaling"), expected.at("rope_scaling")) << name;
    }
    EXPECT_FALSE(config.contains("rope_freq_factors"));
  }
}

// A GGUF file in memory with the metadata of a small model and no more tensors than the
// configuration looks at.
class TinyModel {
 public:
  explicit TinyModel(const std::string& architecture) : architecture_(architecture) {
    text("general.architecture", architecture);
    number("context_length", 64);
    number("embedding_length", 8);
    number("block_count", 1);
    number("feed_forward_length", 16);
    number("attention.head_count", 2);
    add("token_embd.weight", {8, 4}, std::vector<float>(32));
  }
  void text(const std::string& key, const std::string& value) {
    put_string(keys_, key);
    put(keys_, std::uint32_t{8});
    put_string(keys_, value);
    ++key_count_;
  }
  void number(const std::string& key, std::uint32_t value) {
    put_string(keys_, architecture_ + "." + key);
    put(keys_, std::uint32_t{4});
    put(keys_, value);
    ++key_count_;
  }
  void real(const std::string& key, float value) {
    put_string(keys_, architecture_ + "." + key);
    put(keys_, std::uint32_t{6});
    put(keys_, value);
    ++key_count_;
  }
  void ints(const std::string& key, const std::vector<std::int32_t>& values) {
    put_string(keys_, architecture_ + "." + key);
    put(keys_, std::uint32_t{9});
    put(keys_, std::uint32_t{5});
    put(keys_, std::uint64_t{values.size()});
    for (const auto v : values) put(keys_, v);
    ++key_count_;
  }
  void add(const std::string& name, const std::vector<std::uint64_t>& dims,
           const std::vector<float>& values) {
    put_string(infos_, name);
    put(infos_, static_cast<std::uint32_t>(dims.size()));
    for (const auto d : dims) put(infos_, d);
    put(infos_, std::uint32_t{0});
    put(infos_, std::uint64_t{data_.size()});
    for (const float v : values) put(data_, v);
    data_.resize((data_.size() + 31) / 32 * 32);
    ++tensor_count_;
  }
  nlohmann::json config() {
    file_ = "GGUF";
    put(file_, std::uint32_t{3});
    put(file_, tensor_count_);
    put(file_, key_count_);
    file_ += keys_ + infos_;
    file_.resize((file_.size() + 31) / 32 * 32);
    file_ += data_;
    return hf_config(
        GgufFile::parse({reinterpret_cast<const std::byte*>(file_.data()), file_.size()}, "f"));
  }

 private:
  template <class T>
  static void put(std::string& to, T value) {
    to.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  static void put_string(std::string& to, const std::string& s) {
    put(to, std::uint64_t{s.size()});
    to += s;
  }

  std::string architecture_, keys_, infos_, data_, file_;
  std::uint64_t key_count_ = 0, tensor_count_ = 0;
};

TEST(GgufNames, DefaultsOfTheConfig) {
  TinyModel m("llama");
  m.ints("attention.head_count_kv", {1, 1, 1});
  m.real("attention.layer_norm_rms_epsilon", 1e-5f);
  const auto c = m.config();
  EXPECT_EQ(c["head_dim"], 4);
  EXPECT_EQ(c["num_key_value_heads"], 1);
  EXPECT_EQ(c["rms_norm_eps"], 1e-5);
  EXPECT_EQ(c["rope_theta"], 10000.0);
  EXPECT_EQ(c["tie_word_embeddings"], true);
  EXPECT_TRUE(c["eos_token_id"].is_null());
  EXPECT_EQ(c["rope_parameters"], (nlohmann::json{{"rope_type", "default"}, {"rope_theta", 1e4}}));
  EXPECT_EQ(c["architectures"], nlohmann::json({"LlamaForCausalLM"}));
}

TEST(GgufNames, OddFactorsAreHandedOn) {
  TinyModel m("llama");
  m.add("rope_freqs.weight", {2}, {3.5f, 1.0f});
  const auto c = m.config();
  EXPECT_EQ(c.value("rope_freq_factors", nlohmann::json()), nlohmann::json({3.5, 1.0}));
  EXPECT_EQ(c["rope_parameters"]["rope_type"], "default");
  TinyModel ones("llama");
  ones.add("rope_freqs.weight", {2}, {1.0f, 1.0f});
  EXPECT_FALSE(ones.config().contains("rope_freq_factors"));
  TinyModel length("llama");
  length.add("rope_freqs.weight", {3}, {1.0f, 1.0f, 1.0f});
  EXPECT_EQ(message_of([&] { length.config(); }),
            "f: rope_freqs.weight has shape (3), expected (2)");
  TinyModel zero("llama");
  zero.add("rope_freqs.weight", {2}, {1.0f, 0.0f});
  EXPECT_NE(message_of([&] { zero.config(); }), "no error");
}

TEST(GgufNames, ScalingOfPositions) {
  TinyModel linear("qwen2");
  linear.text("qwen2.rope.scaling.type", "linear");
  linear.real("rope.scaling.factor", 4.0f);
  EXPECT_EQ(linear.config()["rope_parameters"],
            (nlohmann::json{{"rope_type", "linear"}, {"factor", 4.0}, {"rope_theta", 1e4}}));
  TinyModel longrope("qwen2");
  longrope.text("qwen2.rope.scaling.type", "longrope");
  EXPECT_NE(message_of([&] { longrope.config(); }), "no error");
}

TEST(GgufNames, RefusesWhatItCannotExpress) {
  EXPECT_EQ(message_of([] { TinyModel("mamba").config(); }),
            "f: architecture 'mamba' is not supported (llama, qwen2 and qwen3 are)");
  TinyModel experts("llama");
  experts.number("expert_count", 8);
  EXPECT_NE(message_of([&] { experts.config(); }), "no error");
  TinyModel window("qwen2");
  window.number("attention.sliding_window", 4096);
  EXPECT_NE(message_of([&] { window.config(); }), "no error");
  TinyModel partial("llama");
  partial.number("rope.dimension_count", 2);
  EXPECT_NE(message_of([&] { partial.config(); }), "no error");
  TinyModel layers("llama");
  layers.ints("attention.head_count_kv", {1, 2});
  EXPECT_NE(message_of([&] { layers.config(); }), "no error");
  TinyModel vocab("llama");
  vocab.number("vocab_size", 5);
  EXPECT_NE(message_of([&] { vocab.config(); }), "no error");
  TinyModel value("llama");
  value.number("attention.value_length", 3);
  EXPECT_NE(message_of([&] { value.config(); }), "no error");
}

}  // namespace
}  // namespace r1
