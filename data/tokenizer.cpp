#include "data/tokenizer.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <functional>
#include <mutex>
#include <unordered_map>

#include "data/bpe.h"
#include "data/file.h"
#include "data/gguf_tokenizer.h"
#include "data/json.h"
#include "data/pretokenize.h"
#include "data/tokenizer_spec.h"
#include "data/utf8.h"
#include "tensor/error.h"

namespace r1 {

namespace {

constexpr size_t kMaxAddedBytes = 1024;  // per token: bounds the search for one at every place
constexpr size_t kMaxTokenBytes = 1 << 16;
constexpr size_t kCachedPieceBytes = 64;  // longer pieces do not come twice
constexpr size_t kCachedPieces = 1 << 16;

// GPT-2's map between bytes and printable characters: 33-126, 161-172 and 174-255 stand for
// themselves, the other 68 bytes for U+0100 and up.
class ByteMap {
 public:
  ByteMap() {
    bytes_.fill(-1);
    char32_t next = 0x100;
    for (char32_t b = 0; b < 256; ++b) {
      const bool itself = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
      const char32_t character = itself ? b : next++;
      bytes_[character] = static_cast<int16_t>(b);
      utf8_append(texts_[b], character);
    }
  }
  const std::string& text_of(uint8_t byte) const { return texts_[byte]; }

  // The bytes the token stands for; a token with other characters stands for itself.
  std::string bytes_of(std::string_view token) const {
    std::string bytes;
    for (size_t at = 0; at < token.size();) {
      const Utf8Step step = utf8_next(token, at);
      if (step.code >= bytes_.size() || bytes_[step.code] < 0) return std::string(token);
      bytes.push_back(static_cast<char>(bytes_[step.code]));
      at += static_cast<size_t>(step.bytes);
    }
    return bytes;
  }

 private:
  std::array<int16_t, 0x144> bytes_;
  std::array<std::string, 256> texts_;
};

const ByteMap& byte_map() {
  static const ByteMap map;
  return map;
}

// Token texts to ids: open addressing over the ids.
class TokenIndex {
 public:
  void reserve(size_t n) {
    size_t size = 16;
    while (size < 2 * n) size *= 2;
    slots_.assign(size, -1);
  }
  // Returns the id that the text had before, or -1 and takes in the new one.
  int32_t add(const std::vector<std::string>& texts, int32_t id) {
    const size_t slot = slot_of(texts, texts[static_cast<size_t>(id)]);
    const int32_t before = slots_[slot];
    if (before < 0) slots_[slot] = id;
    return before;
  }
  int32_t find(const std::vector<std::string>& texts, std::string_view text) const {
    return slots_.empty() ? -1 : slots_[slot_of(texts, text)];
  }

 private:
  size_t slot_of(const std::vector<std::string>& texts, std::string_view text) const {
    const size_t mask = slots_.size() - 1;
    size_t i = std::hash<std::string_view>()(text) & mask;
    while (slots_[i] >= 0 && texts[static_cast<size_t>(slots_[i])] != text) i = (i + 1) & mask;
    return i;
  }
  std::vector<int32_t> slots_;
};

// The ids of short pieces met before. Whoever finds it in use does without.
struct PieceCache {
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view s) const { return std::hash<std::string_view>()(s); }
  };
  struct Range {
    size_t begin, count;
  };
  std::mutex mutex;
  std::unordered_map<std::string, Range, Hash, std::equal_to<>> ranges;
  std::vector<int32_t> ids;

  void store(std::string_view piece, const std::vector<int32_t>& all, size_t from) {
    if (ranges.size() >= kCachedPieces) {
      ranges.clear();
      ids.clear();
    }
    ranges.emplace(piece, Range{ids.size(), all.size() - from});
    ids.insert(ids.end(), all.begin() + static_cast<std::ptrdiff_t>(from), all.end());
  }
};

std::string read_if_exists(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return "";
  return read_text_file(path.string(), uint64_t{256} << 20);
}

}  // namespace

struct Tokenizer::Impl {
  std::string name;
  TokenizerFiles files;                 // of a model folder
  std::optional<GgufTokenizer> source;  // of a GGUF file
  TokenizerConfig config;

  std::vector<std::string> texts;  // by id, published spelling; "" = no token
  std::vector<std::string> bytes;  // by id, what the token decodes to
  std::vector<bool> present, special;
  TokenIndex index;  // the model's vocabulary
  std::unordered_map<std::string, int32_t> added_ids;
  std::vector<AddedToken> added;
  std::vector<int32_t> prefix, suffix;
  bool nfc = false, ignore_merges = false;
  size_t longest_token = 0;  // bytes

  std::optional<AddedTokenMatcher> raw_matcher, normalized_matcher;
  std::optional<PreTokenizer> pre;
  std::optional<Bpe> bpe;
  mutable PieceCache cache;

  Impl(TokenizerSpec spec, std::string source_name);

  void add_vocabulary(const TokenizerSpec& spec);
  void add_added_tokens(const TokenizerSpec& spec);
  void make_bpe(const TokenizerSpec& spec);
  int32_t find(std::string_view token) const;
  int32_t require(std::string_view token, const char* use) const;
  void set_config(TokenizerConfig c);
  void check_id(int32_t id) const;

  struct Work {
    BpeScratch scratch;
    PreTokenizer::Pieces pieces;
    PieceCache* cache = nullptr;  // null: in use by another thread
  };
  void encode_text(std::string_view text, Work& work, std::vector<int32_t>& ids) const;
  void encode_piece(std::string_view piece, Work& work, std::vector<int32_t>& ids) const;
};

Tokenizer::Impl::Impl(TokenizerSpec spec, std::string source_name)
    : name(std::move(source_name)), nfc(spec.nfc), ignore_merges(spec.ignore_merges) {
  add_vocabulary(spec);
  add_added_tokens(spec);
  make_bpe(spec);
  pre.emplace(spec.rules, name + ": pre_tokenizer");
  for (const std::string& token : spec.prefix) prefix.push_back(require(token, "post_processor"));
  for (const std::string& token : spec.suffix) suffix.push_back(require(token, "post_processor"));
}

void Tokenizer::Impl::add_vocabulary(const TokenizerSpec& spec) {
  R1_CHECK(!spec.vocab.empty(), "{}: the vocabulary is empty", name);
  int32_t largest = 0;
  for (const auto& [token, id] : spec.vocab) largest = std::max(largest, id);
  for (const AddedToken& token : spec.added) largest = std::max(largest, token.id);
  const size_t entries = spec.vocab.size() + spec.added.size();
  // Tables are by id: one entry must not make them large.
  R1_CHECK(static_cast<size_t>(largest) < 16 * entries + 65536,
           "{}: id {} is far outside a vocabulary of {} tokens", name, largest, entries);
  const size_t count = static_cast<size_t>(largest) + 1;
  texts.resize(count);
  bytes.resize(count);
  present.resize(count);
  special.resize(count);
  index.reserve(spec.vocab.size());
  for (const auto& [token, id] : spec.vocab) {
    const auto i = static_cast<size_t>(id);
    R1_CHECK(token.size() <= kMaxTokenBytes, "{}: token {} has {} bytes, the limit is {}", name, id,
             token.size(), kMaxTokenBytes);
    R1_CHECK(!present[i], "{}: id {} belongs to both \"{}\" and \"{}\"", name, id,
             json::printable(texts[i]), json::printable(token));
    texts[i] = token;
    present[i] = true;
    const int32_t before = index.add(texts, id);
    R1_CHECK(before < 0, "{}: token \"{}\" has two ids, {} and {}", name, json::printable(token),
             before, id);
    bytes[i] = byte_map().bytes_of(token);
    longest_token = std::max(longest_token, bytes[i].size());
  }
}

void Tokenizer::Impl::add_added_tokens(const TokenizerSpec& spec) {
  std::vector<AddedToken> raw, normalized;
  for (const AddedToken& token : spec.added) {
    const std::string shown = json::printable(token.content);
    R1_CHECK(!token.content.empty(), "{}: added token {} is empty", name, token.id);
    R1_CHECK(token.content.size() <= kMaxAddedBytes,
             "{}: added token {} has {} bytes, the limit is {}", name, token.id,
             token.content.size(), kMaxAddedBytes);
    R1_CHECK(added_ids.emplace(token.content, token.id).second,
             "{}: added token \"{}\" is there twice", name, shown);
    const int32_t in_vocab = index.find(texts, token.content);
    R1_CHECK(in_vocab < 0 || in_vocab == token.id,
             "{}: added token \"{}\" has id {}, in the vocabulary it has {}", name, shown, token.id,
             in_vocab);
    const auto i = static_cast<size_t>(token.id);
    R1_CHECK(!present[i] || texts[i] == token.content,
             "{}: id {} belongs to both \"{}\" and added token \"{}\"", name, token.id,
             json::printable(texts[i]), shown);
    present[i] = true;
    special[i] = token.special;
    texts[i] = token.content;
    bytes[i] = byte_map().bytes_of(token.content);
    AddedToken form = token;
    if (token.normalized && nfc) form.content = utf8_nfc(token.content);
    (token.normalized ? normalized : raw).push_back(std::move(form));
  }
  added = spec.added;
  if (!raw.empty()) raw_matcher.emplace(std::move(raw));
  if (!normalized.empty()) normalized_matcher.emplace(std::move(normalized));
}

void Tokenizer::Impl::make_bpe(const TokenizerSpec& spec) {
  std::array<int32_t, 256> byte_ids;
  for (size_t b = 0; b < 256; ++b)
    byte_ids[b] = index.find(texts, byte_map().text_of(static_cast<uint8_t>(b)));
  std::vector<BpeMerge> merges;
  merges.reserve(spec.merges.size());
  std::string both;
  for (const auto& [left, right] : spec.merges) {
    both.assign(left).append(right);
    const BpeMerge merge{index.find(texts, left), index.find(texts, right),
                         index.find(texts, both)};
    if (merge.left < 0 || merge.right < 0 || merge.result < 0) {
      const std::string& missing = merge.left < 0 ? left : merge.right < 0 ? right : both;
      fail("{}: merge {} (\"{}\" \"{}\") needs token \"{}\", which the vocabulary lacks", name,
           merges.size(), json::printable(left), json::printable(right), json::printable(missing));
    }
    merges.push_back(merge);
  }
  bpe.emplace(byte_ids, merges);
}

int32_t Tokenizer::Impl::find(std::string_view token) const {
  const auto it = added_ids.find(std::string(token));
  return it != added_ids.end() ? it->second : index.find(texts, token);
}

int32_t Tokenizer::Impl::require(std::string_view token, const char* use) const {
  const int32_t id = find(token);
  R1_CHECK(id >= 0, "{}: {}: token \"{}\" is not in the vocabulary", name, use,
           json::printable(token));
  return id;
}

void Tokenizer::Impl::set_config(TokenizerConfig c) {
  config = std::move(c);
  if (!config.bos.empty()) require(config.bos, "bos_token");
  if (!config.eos.empty()) require(config.eos, "eos_token");
  if (!config.pad.empty()) require(config.pad, "pad_token");
  if (config.add_bos.value_or(false) && prefix.empty() && !config.bos.empty())
    prefix.push_back(find(config.bos));
}

void Tokenizer::Impl::check_id(int32_t id) const {
  R1_CHECK(id >= 0 && static_cast<size_t>(id) < present.size(),
           "{}: id {} is outside the vocabulary of {} ids", name, id, present.size());
  R1_CHECK(present[static_cast<size_t>(id)], "{}: id {} has no token (vocabulary of {} ids)", name,
           id, present.size());
}

void Tokenizer::Impl::encode_piece(std::string_view piece, Work& work,
                                   std::vector<int32_t>& ids) const {
  const bool cached = work.cache != nullptr && piece.size() <= kCachedPieceBytes;
  if (cached) {
    const auto it = work.cache->ranges.find(piece);
    if (it != work.cache->ranges.end()) {
      const auto begin = work.cache->ids.begin() + static_cast<std::ptrdiff_t>(it->second.begin);
      ids.insert(ids.end(), begin, begin + static_cast<std::ptrdiff_t>(it->second.count));
      return;
    }
  }
  const size_t from = ids.size();
  int32_t whole = -1;
  if (ignore_merges && piece.size() <= longest_token) {
    std::string text;
    for (const char c : piece) text += byte_map().text_of(static_cast<uint8_t>(c));
    whole = index.find(texts, text);
  }
  if (whole >= 0) ids.push_back(whole);
  else bpe->encode(piece, work.scratch, ids);
  if (cached) work.cache->store(piece, ids, from);
}

// `text` is normalized.
void Tokenizer::Impl::encode_text(std::string_view text, Work& work,
                                  std::vector<int32_t>& ids) const {
  pre->split(text, work.pieces);
  for (const std::string_view piece : work.pieces.views) encode_piece(piece, work, ids);
}

Tokenizer Tokenizer::from_json(std::string_view tokenizer_json, const std::string& name) {
  TokenizerFiles files;
  files.tokenizer_json = tokenizer_json;
  return from_files(std::move(files), name);
}

Tokenizer Tokenizer::from_files(TokenizerFiles files, const std::string& name) {
  auto impl = std::make_shared<Impl>(read_tokenizer_json(files.tokenizer_json, name), name);
  TokenizerConfig config;
  if (!files.tokenizer_config_json.empty())
    config = read_tokenizer_config(
        files.tokenizer_config_json,
        (std::filesystem::path(name).parent_path() / "tokenizer_config.json").string());
  if (!files.chat_template_jinja.empty()) config.chat_template = files.chat_template_jinja;
  impl->set_config(std::move(config));
  impl->files = std::move(files);
  return Tokenizer(std::move(impl));
}

Tokenizer Tokenizer::from_json_file(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  fs::path file = path;
  if (fs::is_directory(file, error)) file /= "tokenizer.json";
  TokenizerFiles files;
  files.tokenizer_json = read_text_file(file.string(), uint64_t{256} << 20);
  files.tokenizer_config_json = read_if_exists(file.parent_path() / "tokenizer_config.json");
  files.chat_template_jinja = read_if_exists(file.parent_path() / "chat_template.jinja");
  return from_files(std::move(files), file.string());
}

Tokenizer Tokenizer::from_gguf(GgufTokenizer source, const std::string& name) {
  auto impl = std::make_shared<Impl>(spec_of_gguf(source, name), name);
  TokenizerConfig config;
  const auto text = [&](const std::optional<int32_t>& id) {
    if (!id) return std::string();
    impl->check_id(*id);
    return impl->texts[static_cast<size_t>(*id)];
  };
  config.bos = text(source.bos_id);
  config.eos = text(source.eos_id);
  config.pad = text(source.padding_id);
  config.add_bos = source.add_bos;
  config.chat_template = source.chat_template;
  impl->set_config(std::move(config));
  impl->source = std::move(source);
  return Tokenizer(std::move(impl));
}

Tokenizer Tokenizer::load(const std::string& path) {
  if (!path.ends_with(".gguf")) return from_json_file(path);
  return from_gguf(gguf_tokenizer(GgufFile::open(path)), path);
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool recognise_special) const {
  const size_t bad = utf8_find_invalid(text);
  R1_CHECK(bad == std::string_view::npos,
           "encode: the text is not valid UTF-8 at byte {} of {}; convert it first", bad,
           text.size());
  std::vector<int32_t> ids;
  std::unique_lock<std::mutex> lock(impl_->cache.mutex, std::try_to_lock);
  Impl::Work work;
  if (lock.owns_lock()) work.cache = &impl_->cache;
  using Segment = AddedTokenMatcher::Segment;
  const auto segments_of = [&](const std::optional<AddedTokenMatcher>& matcher,
                               std::string_view part) {
    std::vector<Segment> segments;
    if (recognise_special && matcher) matcher->split(part, segments);
    else segments.push_back({part, -1});
    return segments;
  };
  for (const Segment& raw : segments_of(impl_->raw_matcher, text)) {
    if (raw.id >= 0) {
      ids.push_back(raw.id);
      continue;
    }
    const std::string normal = impl_->nfc ? utf8_nfc(raw.text) : std::string();
    const std::string_view part = impl_->nfc ? std::string_view(normal) : raw.text;
    for (const Segment& segment : segments_of(impl_->normalized_matcher, part)) {
      if (segment.id >= 0) ids.push_back(segment.id);
      else impl_->encode_text(segment.text, work, ids);
    }
  }
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  std::string bytes;
  for (const int32_t id : ids) {
    impl_->check_id(id);
    if (skip_special && impl_->special[static_cast<size_t>(id)]) continue;
    bytes += impl_->bytes[static_cast<size_t>(id)];
  }
  return utf8_replace_invalid(bytes);
}

std::optional<int32_t> Tokenizer::token_to_id(std::string_view token) const {
  const int32_t id = impl_->find(token);
  return id < 0 ? std::nullopt : std::optional<int32_t>(id);
}

const std::string& Tokenizer::id_to_token(int32_t id) const {
  impl_->check_id(id);
  return impl_->texts[static_cast<size_t>(id)];
}

std::string_view Tokenizer::token_bytes(int32_t id) const {
  impl_->check_id(id);
  return impl_->bytes[static_cast<size_t>(id)];
}

bool Tokenizer::has_token(int32_t id) const {
  return id >= 0 && static_cast<size_t>(id) < impl_->present.size() &&
         impl_->present[static_cast<size_t>(id)];
}

bool Tokenizer::is_special(int32_t id) const {
  return has_token(id) && impl_->special[static_cast<size_t>(id)];
}

int32_t Tokenizer::vocab_size() const { return static_cast<int32_t>(impl_->present.size()); }
const std::vector<AddedToken>& Tokenizer::added_tokens() const { return impl_->added; }
std::optional<int32_t> Tokenizer::bos_id() const {
  return impl_->config.bos.empty() ? std::nullopt : token_to_id(impl_->config.bos);
}
std::optional<int32_t> Tokenizer::eos_id() const {
  return impl_->config.eos.empty() ? std::nullopt : token_to_id(impl_->config.eos);
}
std::optional<int32_t> Tokenizer::pad_id() const {
  return impl_->config.pad.empty() ? std::nullopt : token_to_id(impl_->config.pad);
}
std::string Tokenizer::bos_token() const { return impl_->config.bos; }
std::string Tokenizer::eos_token() const { return impl_->config.eos; }
const std::vector<int32_t>& Tokenizer::prefix_ids() const { return impl_->prefix; }
const std::vector<int32_t>& Tokenizer::suffix_ids() const { return impl_->suffix; }
const std::string& Tokenizer::chat_template() const { return impl_->config.chat_template; }

TokenizerFiles Tokenizer::files() const {
  return impl_->source ? files_of_gguf(*impl_->source, impl_->name) : impl_->files;
}

std::string StreamDecoder::feed(int32_t id) {
  const std::string_view bytes = tokenizer_.token_bytes(id);
  if (!skip_special_ || !tokenizer_.is_special(id)) pending_ += bytes;
  const size_t whole = pending_.size() - utf8_incomplete_tail(pending_);
  std::string text = utf8_replace_invalid(std::string_view(pending_).substr(0, whole));
  pending_.erase(0, whole);
  return text;
}

std::string StreamDecoder::flush() {
  std::string text = utf8_replace_invalid(pending_);
  pending_.clear();
  return text;
}

}  // namespace r1
