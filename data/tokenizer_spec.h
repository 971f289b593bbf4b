// What a tokenizer file says, as plain data: the step between the file formats and Tokenizer.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/added_tokens.h"
#include "data/pretokenize.h"
#include "data/tokenizer.h"

namespace r1 {

inline constexpr int32_t kMaxTokenId = (1 << 22) - 1;  // published vocabularies end below 2^18

struct TokenizerSpec {
  std::vector<std::pair<std::string, int32_t>> vocab;
  std::vector<std::pair<std::string, std::string>> merges;  // best first
  bool ignore_merges = false;  // a piece that is itself a token is not merged
  std::vector<AddedToken> added;
  bool nfc = false;
  std::vector<SplitRule> rules;
  std::vector<std::string> prefix, suffix;  // tokens the post-processor puts around a text
};

// Special tokens by their text, and the chat form.
struct TokenizerConfig {
  std::string bos, eos, pad;  // "" if absent
  std::optional<bool> add_bos;
  std::string chat_template;
};

TokenizerSpec read_tokenizer_json(std::string_view text, const std::string& name);
TokenizerConfig read_tokenizer_config(std::string_view text, const std::string& name);

TokenizerSpec spec_of_gguf(const GgufTokenizer& source, const std::string& name);
TokenizerFiles files_of_gguf(const GgufTokenizer& source, const std::string& name);

// The normalizer, pre_tokenizer, post_processor and decoder members of `root` into the spec.
void read_pipeline(const nlohmann::json& root, const std::string& name, TokenizerSpec& spec);

// "left right" with exactly one space between two non-empty parts.
std::pair<std::string, std::string> split_merge(std::string_view merge, const std::string& name);

}  // namespace r1
