// Reading of tokenizer.json and tokenizer_config.json.
#include <array>
#include <nlohmann/json.hpp>

#include "data/json.h"
#include "data/tokenizer_spec.h"
#include "tensor/error.h"

namespace r1 {

namespace {

using json::Value;

// Builds a tree of everything but model.vocab and model.merges, which hold nearly all of the file
// and go into flat lists.
class FileEvents : public json::Events {
 public:
  explicit FileEvents(TokenizerSpec& spec) : spec_(spec) {}
  const Value& tree() const { return tree_; }
  bool has_vocab() const { return has_vocab_; }
  bool has_merges() const { return has_merges_; }

  void begin_object() override {
    if (mode_ == Mode::kMerges) throw Error("model.merges: expected \"left right\" or a pair");
    if (mode_ == Mode::kVocab) bad_vocab();
    if (in_model_ && key_ == "vocab") {
      mode_ = Mode::kVocab;
      has_vocab_ = true;
      return;
    }
    push(Value::object());
  }
  void key(std::string& name) override {
    if (mode_ == Mode::kVocab) {
      token_ = std::move(name);
      return;
    }
    key_ = std::move(name);
    if (stack_.back()->contains(key_))
      throw Error(fmt::format("duplicate key \"{}\"", json::printable(key_)));
    in_model_ = false;
    if (stack_.size() == 1) root_key_ = key_;
    if (stack_.size() == 2 && root_key_ == "model") {
      in_model_ = true;
      if ((key_ == "vocab" && has_vocab_) || (key_ == "merges" && has_merges_))
        throw Error(fmt::format("duplicate key \"{}\"", key_));
    }
  }
  void end_object() override {
    if (mode_ == Mode::kVocab) {
      mode_ = Mode::kTree;
      in_model_ = false;
    } else {
      pop();
    }
  }
  void begin_array() override {
    if (mode_ == Mode::kVocab) bad_vocab();
    if (mode_ == Mode::kMerges) {
      if (in_pair_) throw Error("model.merges: expected \"left right\" or a pair");
      in_pair_ = true;
      parts_ = 0;
      return;
    }
    if (in_model_ && key_ == "merges") {
      mode_ = Mode::kMerges;
      has_merges_ = true;
      return;
    }
    push(Value::array());
  }
  void end_array() override {
    if (mode_ != Mode::kMerges) return pop();
    if (in_pair_) {
      if (parts_ != 2) throw Error("model.merges: a pair needs two strings");
      spec_.merges.emplace_back(std::move(pair_[0]), std::move(pair_[1]));
      in_pair_ = false;
    } else {
      mode_ = Mode::kTree;
      in_model_ = false;
    }
  }
  void string(std::string& value) override {
    if (mode_ == Mode::kMerges && in_pair_) {
      if (parts_ == 2) throw Error("model.merges: a pair needs two strings");
      pair_[parts_++] = std::move(value);
    } else if (mode_ == Mode::kMerges) {
      spec_.merges.push_back(split_merge(value, ""));
    } else {
      scalar(Value(std::move(value)));
    }
  }
  void null() override { scalar(Value(nullptr)); }
  void boolean(bool value) override { scalar(Value(value)); }
  void integer(std::int64_t value) override {
    if (mode_ == Mode::kVocab) bad_vocab();
    scalar(Value(value));
  }
  void unsigned_integer(std::uint64_t value) override {
    if (mode_ != Mode::kVocab) return scalar(Value(value));
    if (value > static_cast<std::uint64_t>(kMaxTokenId)) bad_vocab();
    spec_.vocab.emplace_back(std::move(token_), static_cast<int32_t>(value));
  }
  void number(double value) override { scalar(Value(value)); }

 private:
  enum class Mode { kTree, kVocab, kMerges };

  [[noreturn]] void bad_vocab() const {
    throw Error(fmt::format("model.vocab: the id of token \"{}\" is no whole number from 0 to {}",
                            json::printable(token_), kMaxTokenId));
  }

  Value* insert(Value value) {
    if (stack_.empty()) {
      tree_ = std::move(value);
      return &tree_;
    }
    Value& parent = *stack_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    return &(parent[key_] = std::move(value));
  }
  void scalar(Value value) {
    if (mode_ == Mode::kVocab) bad_vocab();
    if (mode_ == Mode::kMerges) throw Error("model.merges: expected \"left right\" or a pair");
    insert(std::move(value));
  }
  // Pointers stay valid: a container grows only while it is the last of the stack.
  void push(Value value) {
    stack_.push_back(insert(std::move(value)));
    in_model_ = false;
  }
  void pop() {
    stack_.pop_back();
    in_model_ = false;
  }

  TokenizerSpec& spec_;
  Value tree_;
  std::vector<Value*> stack_;
  Mode mode_ = Mode::kTree;
  std::string key_, root_key_, token_;
  bool in_model_ = false;  // the last key is a member of "model"
  bool has_vocab_ = false, has_merges_ = false, in_pair_ = false;
  size_t parts_ = 0;
  std::array<std::string, 2> pair_;
};

[[noreturn]] void unsupported(const std::string& where, std::string_view what,
                              std::string_view supported) {
  fail("{}: {} is not supported; supported: {}", where, json::printable(what), supported);
}

std::string type_of(const Value& part, const std::string& where) {
  R1_CHECK(part.is_object(), "{}: expected an object, got {}", where, json::type_name(part));
  return json::get_string(part, "type", where);
}

// A list of parts, or nothing.
const Value& list_of(const Value& part, std::string_view key, const std::string& where) {
  const Value* list = json::find(part, key, where);
  R1_CHECK(list != nullptr && list->is_array(), "{}: {}: expected an array", where, key);
  return *list;
}

void read_normalizer(const Value& part, const std::string& where, TokenizerSpec& spec) {
  const std::string type = type_of(part, where);
  if (type == "NFC") {
    spec.nfc = true;
  } else if (type == "Sequence") {
    for (const Value& inner : list_of(part, "normalizers", where))
      read_normalizer(inner, where, spec);
  } else {
    unsupported(where, type, "null, NFC, Sequence");
  }
}

SplitBehavior behavior_of(const std::string& name, const std::string& where) {
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  unsupported(where, "behavior " + name,
              "Isolated, Removed, MergedWithPrevious, MergedWithNext, Contiguous");
}

SplitRule split_of(const Value& part, const std::string& where) {
  SplitRule rule;
  const Value* pattern = json::find(part, "pattern", where);
  R1_CHECK(pattern != nullptr && pattern->is_object() && pattern->size() == 1,
           "{}: Split: pattern: expected {{\"Regex\": ...}} or {{\"String\": ...}}", where);
  const std::string kind = pattern->begin().key();
  if (kind != "Regex" && kind != "String")
    unsupported(where, "Split pattern " + kind, "Regex, String");
  rule.kind = kind == "Regex" ? SplitRule::Kind::kRegex : SplitRule::Kind::kLiteral;
  rule.pattern = json::get_string(*pattern, kind, where);
  rule.behavior = behavior_of(json::get_string(part, "behavior", where), where);
  rule.invert = json::get_bool_or(part, "invert", false, where);
  return rule;
}

// ByteLevel must come last: steps after it would see the printable forms of the bytes.
void read_pre_tokenizer(const Value& part, const std::string& where, TokenizerSpec& spec,
                        bool& byte_level) {
  const std::string type = type_of(part, where);
  R1_CHECK(!byte_level, "{}: {} after ByteLevel is not supported; ByteLevel must be last", where,
           json::printable(type));
  if (type == "Sequence") {
    for (const Value& inner : list_of(part, "pretokenizers", where))
      read_pre_tokenizer(inner, where, spec, byte_level);
  } else if (type == "Split") {
    spec.rules.push_back(split_of(part, where));
  } else if (type == "Digits") {
    const bool individual = json::get_bool_or(part, "individual_digits", false, where);
    spec.rules.push_back({SplitRule::Kind::kRegex, individual ? "\\p{N}" : "\\p{N}+",
                          SplitBehavior::kIsolated, false});
  } else if (type == "ByteLevel") {
    byte_level = true;
    if (json::get_bool_or(part, "add_prefix_space", true, where))
      spec.rules.push_back({SplitRule::Kind::kPrefixSpace, "", SplitBehavior::kIsolated, false});
    if (json::get_bool_or(part, "use_regex", true, where))
      spec.rules.push_back(
          {SplitRule::Kind::kRegex, kGpt2Pattern, SplitBehavior::kIsolated, false});
  } else {
    unsupported(where, type, "Sequence, Split, Digits, ByteLevel");
  }
}

void read_template(const Value& part, const std::string& where, TokenizerSpec& spec) {
  bool before = true;
  for (const Value& item : list_of(part, "single", where)) {
    R1_CHECK(item.is_object() && item.size() == 1, "{}: single: expected objects", where);
    const std::string kind = item.begin().key();
    if (kind == "Sequence") {
      before = false;
    } else if (kind == "SpecialToken") {
      (before ? spec.prefix : spec.suffix)
          .push_back(json::get_string(item.begin().value(), "id", where));
    } else {
      unsupported(where, kind, "Sequence, SpecialToken");
    }
  }
}

void read_post_processor(const Value& part, const std::string& where, TokenizerSpec& spec) {
  const std::string type = type_of(part, where);
  if (type == "Sequence") {
    for (const Value& inner : list_of(part, "processors", where))
      read_post_processor(inner, where, spec);
  } else if (type == "TemplateProcessing") {
    read_template(part, where, spec);
  } else if (type != "ByteLevel") {  // ByteLevel only moves offsets
    unsupported(where, type, "null, ByteLevel, TemplateProcessing, Sequence");
  }
}

void check_decoder(const Value& part, const std::string& where) {
  const std::string type = type_of(part, where);
  if (type == "Sequence") {
    const Value& list = list_of(part, "decoders", where);
    R1_CHECK(list.size() == 1,
             "{}: a Sequence of {} decoders is not supported; supported: "
             "ByteLevel",
             where, list.size());
    check_decoder(list[0], where);
  } else if (type != "ByteLevel") {
    unsupported(where, type, "ByteLevel");
  }
}

void check_model(const Value& model, const std::string& name, TokenizerSpec& spec) {
  const std::string where = name + ": model";
  const std::string type = json::get_string_or(model, "type", "BPE", where);
  if (type != "BPE") unsupported(where, "type " + type, "BPE (byte-level)");
  spec.ignore_merges = json::get_bool_or(model, "ignore_merges", false, where);
  if (json::get_bool_or(model, "byte_fallback", false, where))
    unsupported(where, "byte_fallback", "byte-level BPE");
  if (json::find(model, "unk_token", where) != nullptr)
    unsupported(where, "unk_token", "null: a byte-level vocabulary needs none");
  if (const Value* dropout = json::find(model, "dropout", where))
    if (!dropout->is_number() || dropout->get<double>() != 0) unsupported(where, "dropout", "null");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (!json::get_string_or(model, key, "", where).empty())
      unsupported(where, key, "null or \"\"");
}

void read_added_tokens(const Value& list, const std::string& name, TokenizerSpec& spec) {
  const std::string where = name + ": added_tokens";
  R1_CHECK(list.is_array(), "{}: expected an array, got {}", where, json::type_name(list));
  for (const Value& item : list) {
    AddedToken token;
    token.id = static_cast<int32_t>(json::get_int(item, "id", where, 0, kMaxTokenId));
    token.content = json::get_string(item, "content", where);
    token.special = json::get_bool_or(item, "special", false, where);
    token.normalized = json::get_bool_or(item, "normalized", !token.special, where);
    token.lstrip = json::get_bool_or(item, "lstrip", false, where);
    token.rstrip = json::get_bool_or(item, "rstrip", false, where);
    token.single_word = json::get_bool_or(item, "single_word", false, where);
    spec.added.push_back(std::move(token));
  }
}

// A token is a string or {"content": ...}.
std::string token_text(const Value& root, const char* key, const std::string& name) {
  const Value* token = json::find(root, key, name);
  if (token == nullptr) return "";
  if (token->is_string()) return token->get<std::string>();
  return json::get_string(*token, "content", name + ": " + key);
}

}  // namespace

std::pair<std::string, std::string> split_merge(std::string_view merge, const std::string& name) {
  const size_t space = merge.find(' ');
  if (space == std::string_view::npos || space == 0 || space + 1 == merge.size() ||
      merge.find(' ', space + 1) != std::string_view::npos)
    throw Error(fmt::format("{}{}merges: \"{}\" is not two parts with one space between", name,
                            name.empty() ? "" : ": ", json::printable(merge)));
  return {std::string(merge.substr(0, space)), std::string(merge.substr(space + 1))};
}

void read_pipeline(const Value& root, const std::string& name, TokenizerSpec& spec) {
  if (const Value* part = json::find(root, "normalizer", name))
    read_normalizer(*part, name + ": normalizer", spec);
  const Value* pre = json::find(root, "pre_tokenizer", name);
  bool byte_level = false;
  if (pre != nullptr) read_pre_tokenizer(*pre, name + ": pre_tokenizer", spec, byte_level);
  R1_CHECK(byte_level,
           "{}: pre_tokenizer without ByteLevel is not supported; supported: byte-level BPE", name);
  if (const Value* part = json::find(root, "post_processor", name))
    read_post_processor(*part, name + ": post_processor", spec);
  const Value* decoder = json::find(root, "decoder", name);
  R1_CHECK(decoder != nullptr, "{}: decoder null is not supported; supported: ByteLevel", name);
  check_decoder(*decoder, name + ": decoder");
}

TokenizerSpec read_tokenizer_json(std::string_view text, const std::string& name) {
  TokenizerSpec spec;
  FileEvents events(spec);
  json::parse_events(text, name, events);
  const Value& root = events.tree();
  R1_CHECK(root.is_object(), "{}: expected an object, got {}", name, json::type_name(root));
  const Value* model = json::find(root, "model", name);
  R1_CHECK(model != nullptr, "{}: model is missing: this is no tokenizer.json", name);
  check_model(*model, name, spec);
  R1_CHECK(events.has_vocab(), "{}: model.vocab is missing", name);
  R1_CHECK(events.has_merges(), "{}: model.merges is missing", name);
  if (const Value* added = json::find(root, "added_tokens", name))
    read_added_tokens(*added, name, spec);
  read_pipeline(root, name, spec);
  return spec;
}

TokenizerConfig read_tokenizer_config(std::string_view text, const std::string& name) {
  const Value root = json::parse(text, name);
  R1_CHECK(root.is_object(), "{}: expected an object, got {}", name, json::type_name(root));
  TokenizerConfig config;
  config.bos = token_text(root, "bos_token", name);
  config.eos = token_text(root, "eos_token", name);
  config.pad = token_text(root, "pad_token", name);
  if (json::find(root, "add_bos_token", name) != nullptr)
    config.add_bos = json::get_bool(root, "add_bos_token", name);
  const Value* chat = json::find(root, "chat_template", name);
  if (chat == nullptr) return config;
  if (chat->is_string()) {
    config.chat_template = chat->get<std::string>();
    return config;
  }
  R1_CHECK(chat->is_array(), "{}: chat_template: expected a string or an array, got {}", name,
           json::type_name(*chat));
  for (const Value& item : *chat)
    if (json::get_string(item, "name", name + ": chat_template") == "default")
      config.chat_template = json::get_string(item, "template", name + ": chat_template");
  return config;
}

}  // namespace r1
