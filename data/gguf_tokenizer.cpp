#include "data/gguf_tokenizer.h"

#include <limits>

namespace r1 {

GgufTokenizer gguf_tokenizer(const GgufFile& file) {
  const std::string prefix = "tokenizer.ggml.";
  GgufTokenizer t;
  t.model = file.get_string(prefix + "model");
  t.pre = file.get_string_or(prefix + "pre", "default");
  for (const std::string_view s : file.get_strings(prefix + "tokens")) t.tokens.emplace_back(s);
  if (file.has(prefix + "token_type")) {
    for (const std::int64_t x : file.get_ints(prefix + "token_type")) {
      t.token_types.push_back(static_cast<std::int32_t>(x));
    }
  }
  if (file.has(prefix + "merges")) {
    for (const std::string_view s : file.get_strings(prefix + "merges")) t.merges.emplace_back(s);
  }
  auto id = [&](const char* key) -> std::optional<std::int32_t> {
    if (!file.has(prefix + key)) return std::nullopt;
    return static_cast<std::int32_t>(
        file.get_int(prefix + key, 0, std::numeric_limits<std::int32_t>::max()));
  };
  t.bos_id = id("bos_token_id");
  t.eos_id = id("eos_token_id");
  t.padding_id = id("padding_token_id");
  if (file.has(prefix + "add_bos_token")) t.add_bos = file.get_bool(prefix + "add_bos_token");
  t.chat_template = file.get_string_or("tokenizer.chat_template", "");
  return t;
}

}  // namespace r1
