// Tokenizers from GGUF metadata, and the files that say the same in the format of the tokenizers
// package.
#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "data/json.h"
#include "data/tokenizer_spec.h"
#include "tensor/error.h"

namespace r1 {

namespace {

using json::OrderedValue;
using json::Value;

// Values of tokenizer.ggml.token_type.
enum GgufTokenType { kNormal = 1, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

const char* const kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
    R"(\s*[\r\n]+|\s+(?!\S)|\s+)";
const char* const kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
    R"(\s*[\r\n]+|\s+(?!\S)|\s+)";
const char* const kDeepSeekWords =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|)"
    R"( ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

OrderedValue split(const char* regex) {
  return {{"type", "Split"},
          {"pattern", {{"Regex", regex}}},
          {"behavior", "Isolated"},
          {"invert", false}};
}

OrderedValue byte_level(bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", use_regex}};
}

struct Form {
  const char* pre;
  std::vector<OrderedValue> steps;
  bool nfc = false;
  bool ignore_merges = false;
};

std::vector<Form> forms() {
  const OrderedValue digits = {{"type", "Digits"}, {"individual_digits", true}};
  const std::vector<OrderedValue> gpt2 = {byte_level(true)};
  const std::vector<OrderedValue> qwen2 = {split(kQwen2Pattern), byte_level(false)};
  const std::vector<OrderedValue> llama3 = {split(kLlama3Pattern), byte_level(false)};
  const std::vector<OrderedValue> deepseek = {split(R"(\p{N}{1,3})"),
                                              split("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"),
                                              split(kDeepSeekWords), byte_level(false)};
  // What GGUF programs do for a vocabulary of which they know no more.
  const std::vector<OrderedValue> standard = {
      split(R"([\p{P}\$\+<=>\^~\|]+)"),
      split(R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S))"),
      split(R"(\p{N}+)"), split("[0-9][0-9][0-9]"), byte_level(false)};
  return {{"smollm", {digits, byte_level(true)}},
          {"gpt-2", gpt2},
          {"qwen2", qwen2, true},
          {"deepseek-r1-qwen", qwen2, true},
          {"llama-bpe", llama3, false, true},
          {"llama3", llama3, false, true},
          {"llama-v3", llama3, false, true},
          {"deepseek-v3", deepseek},
          {"default", standard}};
}

Form form_of(const GgufTokenizer& source, const std::string& name) {
  R1_CHECK(source.model == "gpt2",
           "{}: tokenizer.ggml.model \"{}\" is not supported; supported: gpt2 (byte-level BPE)",
           name, json::printable(source.model));
  std::string known;
  for (Form& form : forms()) {
    if (source.pre == form.pre) return std::move(form);
    known += known.empty() ? "" : ", ";
    known += form.pre;
  }
  fail("{}: tokenizer.ggml.pre \"{}\" is not known; known: {}", name, json::printable(source.pre),
       known);
}

OrderedValue pipeline_of(const Form& form) {
  OrderedValue root;
  root["normalizer"] = form.nfc ? OrderedValue{{"type", "NFC"}} : OrderedValue();
  if (form.steps.size() == 1) root["pre_tokenizer"] = form.steps[0];
  else root["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", form.steps}};
  root["post_processor"] = nullptr;
  root["decoder"] = {{"type", "ByteLevel"},
                     {"add_prefix_space", true},
                     {"trim_offsets", true},
                     {"use_regex", true}};
  return root;
}

std::string token_text(const GgufTokenizer& source, const std::optional<int32_t>& id,
                       const char* key, const std::string& name) {
  if (!id) return "";
  R1_CHECK(*id >= 0 && static_cast<size_t>(*id) < source.tokens.size(),
           "{}: {} {} is outside the vocabulary of {}", name, key, *id, source.tokens.size());
  return source.tokens[static_cast<size_t>(*id)];
}

}  // namespace

std::vector<std::string> gguf_pre_tokenizers() {
  std::vector<std::string> names;
  for (const Form& form : forms()) names.emplace_back(form.pre);
  return names;
}

TokenizerSpec spec_of_gguf(const GgufTokenizer& source, const std::string& name) {
  const Form form = form_of(source, name);
  TokenizerSpec spec;
  spec.ignore_merges = form.ignore_merges;
  R1_CHECK(source.tokens.size() <= static_cast<size_t>(kMaxTokenId) + 1,
           "{}: {} tokens are more than {}", name, source.tokens.size(), kMaxTokenId + 1);
  R1_CHECK(source.token_types.empty() || source.token_types.size() == source.tokens.size(),
           "{}: {} token types for {} tokens", name, source.token_types.size(),
           source.tokens.size());
  for (size_t i = 0; i < source.tokens.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    const int32_t type = source.token_types.empty() ? kNormal : source.token_types[i];
    R1_CHECK(type != kByte, "{}: token {} has type 6 (byte): no byte-level BPE", name, id);
    if (type == kUnused) continue;
    spec.vocab.emplace_back(source.tokens[i], id);
    if (type == kControl || type == kUserDefined)
      spec.added.push_back({id, source.tokens[i], type == kControl});
  }
  spec.merges.reserve(source.merges.size());
  for (const std::string& merge : source.merges) spec.merges.push_back(split_merge(merge, name));
  read_pipeline(Value::parse(pipeline_of(form).dump()), name, spec);
  return spec;
}

TokenizerFiles files_of_gguf(const GgufTokenizer& source, const std::string& name) {
  const TokenizerSpec spec = spec_of_gguf(source, name);
  OrderedValue root;
  root["version"] = "1.0";
  root["truncation"] = nullptr;
  root["padding"] = nullptr;
  root["added_tokens"] = OrderedValue::array();
  for (const AddedToken& token : spec.added)
    root["added_tokens"].push_back({{"id", token.id},
                                    {"content", token.content},
                                    {"single_word", token.single_word},
                                    {"lstrip", token.lstrip},
                                    {"rstrip", token.rstrip},
                                    {"normalized", token.normalized},
                                    {"special", token.special}});
  root.update(pipeline_of(form_of(source, name)));
  OrderedValue& model = root["model"];
  model = {{"type", "BPE"},
           {"dropout", nullptr},
           {"unk_token", nullptr},
           {"continuing_subword_prefix", ""},
           {"end_of_word_suffix", ""},
           {"fuse_unk", false},
           {"byte_fallback", false},
           {"ignore_merges", spec.ignore_merges}};
  // An ordered object looks for each new key among all earlier ones, so this part is text.
  std::string vocab, merges;
  for (const auto& [token, id] : spec.vocab)
    vocab += (vocab.empty() ? "" : ",") + OrderedValue(token).dump() + ":" + std::to_string(id);
  for (const auto& [left, right] : spec.merges)
    merges += (merges.empty() ? "[" : ",[") + OrderedValue(left).dump() + "," +
              OrderedValue(right).dump() + "]";
  std::string text = root.dump();
  text.resize(text.size() - 2);  // the braces that close the model and the whole
  text += ",\"vocab\":{" + vocab + "},\"merges\":[" + merges + "]}}\n";

  OrderedValue config;
  config["tokenizer_class"] = "PreTrainedTokenizerFast";
  config["clean_up_tokenization_spaces"] = false;
  if (source.add_bos) config["add_bos_token"] = *source.add_bos;
  const auto put = [&](const char* key, const std::optional<int32_t>& id) {
    if (id) config[key] = token_text(source, id, key, name);
  };
  put("bos_token", source.bos_id);
  put("eos_token", source.eos_id);
  put("pad_token", source.padding_id);
  if (!source.chat_template.empty()) config["chat_template"] = source.chat_template;
  return {std::move(text), config.dump(2) + "\n", source.chat_template};
}

}  // namespace r1
