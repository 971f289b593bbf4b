// Byte-level BPE tokenizers as published: tokenizer.json of the tokenizers package, or the
// vocabulary of a GGUF file. The ids are those of the tokenizers package.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/added_tokens.h"

namespace r1 {

// The bytes of the files that make a tokenizer in a model folder; empty = absent.
struct TokenizerFiles {
  std::string tokenizer_json;
  std::string tokenizer_config_json;
  std::string chat_template_jinja;
};

// The tokenizer part of GGUF metadata (tokenizer.ggml.* and tokenizer.chat_template).
struct GgufTokenizer {
  std::string model;                 // must be "gpt2" (byte-level BPE)
  std::string pre;                   // name of the pre-tokenizer, see gguf_pre_tokenizers()
  std::vector<std::string> tokens;   // by id, bytes as printable characters
  std::vector<int32_t> token_types;  // 1 normal, 3 control, 4 user-defined, 5 unused, 6 byte
  std::vector<std::string> merges;   // "left right", best first
  std::optional<int32_t> bos_id, eos_id, padding_id;
  std::optional<bool> add_bos;
  std::string chat_template;
};

// The names of pre-tokenizers from_gguf knows.
std::vector<std::string> gguf_pre_tokenizers();

// Copies share one immutable object; all members are safe to call from several threads.
class Tokenizer {
 public:
  // `name` is the source in errors. All throw Error with one line for files that are malformed
  // or use parts of the format that are not supported.
  static Tokenizer from_json(std::string_view tokenizer_json, const std::string& name);
  static Tokenizer from_files(TokenizerFiles files, const std::string& name);
  // A model folder or its tokenizer.json; tokenizer_config.json and chat_template.jinja beside it
  // are read if they exist.
  static Tokenizer from_json_file(const std::string& path);
  static Tokenizer from_gguf(GgufTokenizer source, const std::string& name);
  // A model folder, a tokenizer.json or a file whose name ends in .gguf.
  static Tokenizer load(const std::string& path);

  // No beginning-of-text token is added: see prefix_ids(). recognise_special = false treats added
  // tokens such as "<|im_end|>" as plain text: for text of users. Bytes without a token are
  // dropped, as the tokenizers package does. Throws Error if the text is not valid UTF-8 (with the
  // offset).
  std::vector<int32_t> encode(std::string_view text, bool recognise_special = true) const;

  // Ill-formed UTF-8 becomes U+FFFD. Throws Error for an id without a token (outside the
  // vocabulary, or in the unused range that pads a model's embedding).
  std::string decode(std::span<const int32_t> ids, bool skip_special = false) const;

  std::optional<int32_t> token_to_id(std::string_view token) const;  // published spelling
  const std::string& id_to_token(int32_t id) const;                  // throws like decode
  std::string_view token_bytes(int32_t id) const;  // what decode() puts together; throws too
  bool has_token(int32_t id) const;
  bool is_special(int32_t id) const;

  int32_t vocab_size() const;  // largest id + 1; a model's embedding may have more rows
  const std::vector<AddedToken>& added_tokens() const;

  // Of tokenizer_config.json or GGUF; absent if unknown.
  std::optional<int32_t> bos_id() const;
  std::optional<int32_t> eos_id() const;
  std::optional<int32_t> pad_id() const;
  std::string bos_token() const;  // "" if absent
  std::string eos_token() const;

  // What the tokenizers package puts around a text with add_special_tokens: of the post-processor,
  // or the bos token if add_bos_token is set.
  const std::vector<int32_t>& prefix_ids() const;
  const std::vector<int32_t>& suffix_ids() const;

  // chat_template.jinja, else the chat_template of tokenizer_config.json (the one named "default"
  // if there are several), else "".
  const std::string& chat_template() const;

  // For a model folder: the bytes that were loaded, or, after from_gguf, files from which the
  // tokenizers and transformers packages load the same tokenizer.
  TokenizerFiles files() const;

 private:
  struct Impl;
  explicit Tokenizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

// Decodes ids one by one. feed() gives the text that no later id can change.
class StreamDecoder {
 public:
  explicit StreamDecoder(Tokenizer tokenizer, bool skip_special = false)
      : tokenizer_(std::move(tokenizer)), skip_special_(skip_special) {}

  std::string feed(int32_t id);
  std::string flush();  // what is left: an unfinished character becomes U+FFFD

 private:
  Tokenizer tokenizer_;
  bool skip_special_;
  std::string pending_;
};

}  // namespace r1
