#include "data/gguf_names.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <numbers>
#include <utility>

#include "data/gguf_quants.h"
#include "data/json.h"
#include "tensor/error.h"

namespace r1 {
namespace {

using NamePair = std::pair<std::string_view, std::string_view>;  // GGUF, Hugging Face

constexpr NamePair kTopNames[] = {
    {"token_embd", "model.embed_tokens"}, {"output_norm", "model.norm"}, {"output", "lm_head"}};

constexpr NamePair kBlockNames[] = {
    {"attn_norm", "input_layernorm"},    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},      {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"}, {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"}, {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"}};

constexpr std::string_view kRopeFactors = "rope_freqs.weight";
constexpr std::int64_t kMaxWidth = std::int64_t{1} << 40;

// Maps PREFIX N "." STEM SUFFIX or STEM SUFFIX; from and to choose the member of the pairs.
std::string map_name(std::string_view name, std::string_view NamePair::*from,
                     std::string_view NamePair::*to, std::string_view from_block,
                     std::string_view to_block) {
  const std::size_t dot = name.find_last_of('.');
  if (dot == std::string_view::npos) return "";
  const std::string_view suffix = name.substr(dot);
  if (suffix != ".weight" && suffix != ".bias") return "";
  std::string_view stem = name.substr(0, dot);
  for (const NamePair& p : kTopNames)
    if (stem == p.*from) return std::string(p.*to).append(suffix);
  if (!stem.starts_with(from_block)) return "";
  stem.remove_prefix(from_block.size());
  const std::size_t digits = std::min(stem.find_first_not_of("0123456789"), stem.size());
  const std::string_view number = stem.substr(0, digits);
  const bool plain = digits > 0 && digits < 7 && (digits == 1 || number.front() != '0');
  if (!plain || digits == stem.size() || stem[digits] != '.') return "";
  stem.remove_prefix(digits + 1);
  for (const NamePair& p : kBlockNames)
    if (stem == p.*from)
      return std::string(to_block).append(number).append(".").append(p.*to).append(suffix);
  return "";
}

std::string architecture_of(const GgufFile& file) {
  std::string name = file.get_string("general.architecture");
  R1_CHECK(name == "llama" || name == "qwen2" || name == "qwen3",
           "{}: architecture '{}' is not supported (llama, qwen2 and qwen3 are)", file.where(),
           json::printable(name));
  return name;
}

// Metadata of one architecture: keys are ARCH.name.
class Keys {
 public:
  explicit Keys(const GgufFile& f) : file(f), architecture(architecture_of(f)) {}

  std::string key(const char* name) const { return architecture + "." + name; }
  bool has(const char* name) const { return file.has(key(name)); }
  std::int64_t width(const char* name) const { return file.get_int(key(name), 1, kMaxWidth); }
  std::int64_t width_or(const char* name, std::int64_t fallback) const {
    return file.get_int_or(key(name), fallback, 1, kMaxWidth);
  }
  // One number for all layers; a list must repeat one number.
  std::int64_t same_for_all_layers(const char* name) const {
    const GgufEntry* e = file.entry(key(name));
    if (e == nullptr || e->type != GgufValueType::array) return width(name);
    const auto values = file.get_ints(key(name));
    R1_CHECK(!values.empty() && values.front() >= 1 && values.front() <= kMaxWidth &&
                 std::all_of(values.begin(), values.end(),
                             [&](std::int64_t v) { return v == values.front(); }),
             "{}: {}: layers of different sizes are not supported", file.where(), key(name));
    return values.front();
  }
  std::int64_t heads() const { return same_for_all_layers("attention.head_count"); }
  std::int64_t kv_heads() const {
    return has("attention.head_count_kv") ? same_for_all_layers("attention.head_count_kv")
                                          : heads();
  }
  std::int64_t head_dim() const {
    const std::int64_t hidden = width("embedding_length"), H = heads();
    R1_CHECK(has("attention.key_length") || hidden % H == 0,
             "{}: {} is {}, no multiple of {} heads", file.where(), key("embedding_length"), hidden,
             H);
    return width_or("attention.key_length", hidden / H);
  }
  // The number that a person wrote: files keep f32, and 1e-5f as double is 9.99999974e-06.
  double number_or(const char* name, double fallback) const {
    if (!has(name)) return fallback;
    const double x = file.get_number(key(name));
    R1_CHECK(std::isfinite(x), "{}: {}: {} is not finite", file.where(), key(name), x);
    return file.entry(key(name))->type == GgufValueType::f32
               ? std::strtod(fmt::format("{}", static_cast<float>(x)).c_str(), nullptr)
               : x;
  }

  const GgufFile& file;
  const std::string architecture;
};

struct Llama3Scaling {
  double factor, low, high, original;
};

// What a frequency of wavelength 2 pi theta^(2i/D) is divided by (Llama 3.1's scaling).
double llama3_divisor(const Llama3Scaling& s, double wavelength) {
  if (wavelength < s.original / s.high) return 1;
  if (wavelength > s.original / s.low) return s.factor;
  const double smooth = (s.original / wavelength - s.low) / (s.high - s.low);
  return 1 / ((1 - smooth) / s.factor + smooth);
}

// Every llama3 model has low 1 and high 4, and an original context that is a power of two; the
// guess is taken only when it gives all the numbers of the file again.
bool find_llama3(const std::vector<float>& divisors, double theta, Llama3Scaling& found) {
  const double factor = *std::max_element(divisors.begin(), divisors.end());
  const auto n = static_cast<double>(divisors.size());
  for (double original = 16; original <= (1 << 20); original *= 2) {
    found = {.factor = factor, .low = 1, .high = 4, .original = original};
    bool same = true;
    for (std::size_t i = 0; i < divisors.size() && same; ++i) {
      const double wavelength = 2 * std::numbers::pi * std::pow(theta, static_cast<double>(i) / n);
      const double divisor = llama3_divisor(found, wavelength);
      same = std::abs(divisor - static_cast<double>(divisors[i])) <= 1e-4 * divisor;
    }
    if (same) return true;
  }
  return false;
}

// Adds rope_theta, rope_scaling, rope_parameters and, for unknown factors, rope_freq_factors.
void add_rope(const Keys& k, std::int64_t head_dim, nlohmann::json& config) {
  const GgufFile& file = k.file;
  const std::int64_t rotated = k.width_or("rope.dimension_count", head_dim);
  R1_CHECK(rotated == head_dim, "{}: {} is {}, but only whole heads of {} can be rotated",
           file.where(), k.key("rope.dimension_count"), rotated, head_dim);
  const double theta = k.number_or("rope.freq_base", 10000.0);
  nlohmann::json rope = {{"rope_type", "default"}};

  std::string type = file.get_string_or(k.key("rope.scaling.type"), "none");
  const bool old_linear = k.has("rope.scale_linear");
  if (type == "none" && old_linear) type = "linear";
  const double factor = k.number_or(old_linear ? "rope.scale_linear" : "rope.scaling.factor", 1.0);
  R1_CHECK(type == "none" || type == "linear" || type == "yarn",
           "{}: rope scaling '{}' is not supported (none, linear and yarn are)", file.where(),
           json::printable(type));
  if (type != "none" && factor != 1.0) {
    rope = {{"rope_type", type}, {"factor", factor}};
    if (k.has("rope.scaling.original_context_length"))
      rope["original_max_position_embeddings"] = k.width("rope.scaling.original_context_length");
  }

  if (const GgufTensor* t = file.find(kRopeFactors)) {
    R1_CHECK(t->shape == Shape{head_dim / 2}, "{}: {} has shape {}, expected ({})", file.where(),
             kRopeFactors, t->shape.str(), head_dim / 2);
    R1_CHECK(rope["rope_type"] == "default", "{}: both {} and rope scaling '{}'", file.where(),
             kRopeFactors, type);
    const Tensor values = read_tensor(*t, DType::f32, file.where());
    const std::vector<float> divisors(values.data<float>(), values.data<float>() + values.numel());
    for (const float d : divisors)
      R1_CHECK(std::isfinite(d) && d > 0, "{}: {} holds {}, not a positive number", file.where(),
               kRopeFactors, d);
    const bool none =
        std::all_of(divisors.begin(), divisors.end(), [](float d) { return d == 1.0f; });
    Llama3Scaling s{};
    if (!none && find_llama3(divisors, theta, s)) {
      rope = {{"rope_type", "llama3"},
              {"factor", s.factor},
              {"low_freq_factor", s.low},
              {"high_freq_factor", s.high},
              {"original_max_position_embeddings", static_cast<std::int64_t>(s.original)}};
    } else if (!none) {
      config["rope_freq_factors"] = divisors;
    }
  }
  config["rope_theta"] = theta;
  config["rope_scaling"] = rope["rope_type"] == "default" ? nlohmann::json() : rope;
  rope["rope_theta"] = theta;
  config["rope_parameters"] = rope;
}

void add_token_ids(const GgufFile& file, std::int64_t vocab, nlohmann::json& config) {
  constexpr std::pair<const char*, const char*> kIds[] = {
      {"bos_token_id", "tokenizer.ggml.bos_token_id"},
      {"eos_token_id", "tokenizer.ggml.eos_token_id"},
      {"pad_token_id", "tokenizer.ggml.padding_token_id"}};
  for (const auto& [name, key] : kIds) {
    config[name] = nullptr;
    if (file.has(key)) config[name] = file.get_int(key, 0, vocab - 1);
  }
}

}  // namespace

std::string hf_name(std::string_view gguf_name) {
  return map_name(gguf_name, &NamePair::first, &NamePair::second, "blk.", "model.layers.");
}

std::string gguf_name(std::string_view hf_name) {
  return map_name(hf_name, &NamePair::second, &NamePair::first, "model.layers.", "blk.");
}

std::vector<HfTensor> hf_tensors(const GgufFile& file) {
  const Keys k(file);
  const bool permuted = k.architecture == "llama";
  std::vector<HfTensor> result;
  for (const GgufTensor& t : file.tensors()) {
    if (t.name == kRopeFactors) continue;
    HfTensor hf{.name = hf_name(t.name), .tensor = &t};
    R1_CHECK(!hf.name.empty(), "{}: tensor '{}' belongs to no dense {} model", file.where(),
             json::printable(t.name), k.architecture);
    if (permuted && hf.name.find(".q_proj.") != std::string::npos) hf.permuted_heads = k.heads();
    if (permuted && hf.name.find(".k_proj.") != std::string::npos) hf.permuted_heads = k.kv_heads();
    result.push_back(std::move(hf));
  }
  return result;
}

Tensor read_tensor(const HfTensor& t, DType dtype, std::string_view where) {
  Tensor w = read_tensor(*t.tensor, dtype, where);
  if (t.permuted_heads == 0) return w;
  R1_CHECK(w.rank() >= 1 && w.dim(0) % (2 * t.permuted_heads) == 0,
           "{}: tensor '{}' of shape {} is not made of {} heads", where,
           json::printable(t.tensor->name), w.shape().str(), t.permuted_heads);
  return unpermute_rope_rows(w, t.permuted_heads);
}

nlohmann::json hf_config(const GgufFile& file) {
  const Keys k(file);
  R1_CHECK(!k.has("expert_count") || file.get_int(k.key("expert_count"), 0, kMaxWidth) == 0,
           "{}: a mixture of experts is not supported in GGUF files", file.where());
  R1_CHECK(!k.has("attention.sliding_window") ||
               file.get_int(k.key("attention.sliding_window"), 0, kMaxWidth) == 0,
           "{}: {}: sliding-window attention is not supported", file.where(),
           k.key("attention.sliding_window"));
  const GgufTensor& embedding = file.at("token_embd.weight");
  R1_CHECK(embedding.shape.rank() == 2, "{}: token_embd.weight has shape {}, expected 2 dimensions",
           file.where(), embedding.shape.str());
  const std::int64_t vocab = embedding.shape[0], D = k.head_dim();
  R1_CHECK(k.width_or("vocab_size", vocab) == vocab,
           "{}: {} is {}, but token_embd.weight has {} rows", file.where(), k.key("vocab_size"),
           k.width("vocab_size"), vocab);
  R1_CHECK(k.width_or("attention.value_length", D) == D,
           "{}: {} differs from the length of keys {}", file.where(),
           k.key("attention.value_length"), D);
  const bool is_llama = k.architecture == "llama";
  nlohmann::json config = {{"architectures",
                            {is_llama                    ? "LlamaForCausalLM"
                             : k.architecture == "qwen2" ? "Qwen2ForCausalLM"
                                                         : "Qwen3ForCausalLM"}},
                           {"model_type", k.architecture},
                           {"hidden_size", k.width("embedding_length")},
                           {"intermediate_size", k.same_for_all_layers("feed_forward_length")},
                           {"num_hidden_layers", k.width("block_count")},
                           {"num_attention_heads", k.heads()},
                           {"num_key_value_heads", k.kv_heads()},
                           {"head_dim", D},
                           {"max_position_embeddings", k.width("context_length")},
                           {"rms_norm_eps", k.number_or("attention.layer_norm_rms_epsilon", 1e-6)},
                           {"vocab_size", vocab},
                           {"hidden_act", "silu"},
                           {"tie_word_embeddings", file.find("output.weight") == nullptr},
                           {"torch_dtype", "float32"},
                           {"dtype", "float32"}};
  if (k.architecture != "qwen2") {
    config["attention_bias"] = file.find("blk.0.attn_q.bias") != nullptr;
    if (is_llama) config["mlp_bias"] = file.find("blk.0.ffn_up.bias") != nullptr;
  }
  add_rope(k, D, config);
  add_token_ids(file, vocab, config);
  return config;
}

}  // namespace r1
