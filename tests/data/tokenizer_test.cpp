// The tokenizer against ids and texts of the tokenizers package, and against hostile files.
#include "data/tokenizer.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "data/file.h"
#include "data/utf8.h"
#include "tensor/error.h"

namespace r1 {
namespace {

using Json = nlohmann::ordered_json;
using Ids = std::vector<int32_t>;

const std::string kGolden = std::string(R1_GOLDEN_DIR) + "/tokenizers/";
const std::string kShared = R1_SHARED_DIR;

Tokenizer smollm2() {
  static const Tokenizer tokenizer = Tokenizer::load(kGolden + "smollm2");
  return tokenizer;
}

template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
    return e.what();
  }
  return "";
}

void expect_error(const std::string& error, const std::string& part) {
  EXPECT_NE(error.find(part), std::string::npos) << "error \"" << error << "\" lacks: " << part;
}

std::vector<Json> lines_of(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file) << path;
  std::vector<Json> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(Json::parse(line));
  return lines;
}

void check_golden(const Tokenizer& tokenizer, const std::string& prefix) {
  const auto encode = lines_of(prefix + ".encode.jsonl");
  EXPECT_EQ(encode.size(), 525u);
  for (const Json& line : encode)
    EXPECT_EQ(tokenizer.encode(line["text"].get<std::string>()), line["ids"].get<Ids>())
        << line.dump();
  const auto decode = lines_of(prefix + ".decode.jsonl");
  EXPECT_GE(decode.size(), 149u);
  for (const Json& line : decode) {
    const Ids ids = line["ids"].get<Ids>();
    EXPECT_EQ(tokenizer.decode(ids), line["text"]) << line.dump();
    EXPECT_EQ(tokenizer.decode(ids, true), line["text_skip_special"]) << line.dump();
    StreamDecoder stream(tokenizer);
    std::string text;
    for (const int32_t id : ids) {
      const std::string part = stream.feed(id);
      EXPECT_EQ(utf8_find_invalid(part), std::string::npos);
      text += part;
    }
    EXPECT_EQ(text + stream.flush(), line["text"]) << line.dump();
  }
}

// A text of code points of every plane; most are common characters.
std::string random_text(std::mt19937& random) {
  const auto below = [&](char32_t n) { return static_cast<char32_t>(random() % n); };
  std::string text;
  for (char32_t length = below(40); length > 0; --length) {
    char32_t code = 0x20 + below(0x60);
    switch (below(6)) {
      case 0:
        code = below(0x110000);
        break;
      case 1:
        code = below(0x3000);
        break;
      case 2:
        code = 0x09 + below(5);
        break;
      case 3:
        code = 0x4e00 + below(0x5000);
        break;
      default:
        break;
    }
    if (code >= 0xD800 && code < 0xE000) code = 0x1F600;
    utf8_append(text, code);
  }
  return text;
}

// A small tokenizer.json: the 256 bytes and the merges of "hello".
Json tiny() {
  Json root;
  root["added_tokens"] = Json::array();
  root["normalizer"] = nullptr;
  root["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
  root["post_processor"] = nullptr;
  root["decoder"] = {{"type", "ByteLevel"}};
  Json& model = root["model"];
  model = {{"type", "BPE"}, {"unk_token", nullptr}, {"vocab", Json::object()}};
  int id = 0;
  char32_t next = 0x100;
  for (char32_t b = 0; b < 256; ++b) {
    const bool itself = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    std::string token;
    utf8_append(token, itself ? b : next++);
    model["vocab"][token] = id++;
  }
  for (const char* token : {"he", "ll", "llo", "hello"}) model["vocab"][token] = id++;
  model["merges"] = {"h e", "l l", "ll o", "he llo"};
  return root;
}

Tokenizer load(const Json& root) { return Tokenizer::from_json(root.dump(), "tiny.json"); }
std::string load_error(const Json& root) {
  return error_of([&] { load(root); });
}
Json added(int id, const std::string& content, const Json& more = Json::object()) {
  Json token = {{"id", id}, {"content", content}, {"special", true}, {"normalized", false}};
  token.update(more);
  return token;
}

TEST(Tokenizer, SmolLm2) { check_golden(smollm2(), kGolden + "smollm2"); }

void check_shared(const std::string& name) {
  const std::string folder = kShared + "/data/tokenizers/" + name;
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << folder << " is absent";
  const Tokenizer tokenizer = Tokenizer::load(folder);
  check_golden(tokenizer, kShared + "/golden/tokenizers/" + name);
}
TEST(Tokenizer, DeepSeekV3) { check_shared("deepseek_v3"); }
TEST(Tokenizer, Qwen3) { check_shared("qwen3"); }
TEST(Tokenizer, Llama3) { check_shared("llama3"); }

TEST(Tokenizer, SpecialTokensOfTheConfig) {
  const Tokenizer t = smollm2();
  EXPECT_EQ(t.vocab_size(), 49152);
  EXPECT_EQ(t.bos_id(), 1);
  EXPECT_EQ(t.eos_id(), 2);
  EXPECT_EQ(t.eos_token(), "<|im_end|>");
  EXPECT_EQ(t.token_to_id("<|im_start|>"), 1);
  EXPECT_EQ(t.token_to_id("no such token"), std::nullopt);
  EXPECT_EQ(t.id_to_token(2), "<|im_end|>");
  EXPECT_TRUE(t.is_special(2));
  EXPECT_FALSE(t.is_special(100));
  EXPECT_EQ(t.added_tokens().size(), 17u);
  EXPECT_TRUE(t.prefix_ids().empty());
  EXPECT_EQ(t.encode("<|im_end|>"), Ids{2});
  const Ids plain = t.encode("<|im_end|>", false);
  EXPECT_GT(plain.size(), 1u);
  EXPECT_EQ(std::find(plain.begin(), plain.end(), 2), plain.end());
  EXPECT_EQ(t.decode(plain), "<|im_end|>");
}

TEST(Tokenizer, IdsWithoutTokenAreNamed) {
  const Tokenizer t = smollm2();
  expect_error(error_of([&] { t.decode(Ids{1, 49152}); }), "49152");
  expect_error(error_of([&] { t.decode(Ids{-1}); }), "id -1");
  Json root = tiny();
  root["added_tokens"].push_back(added(300, "<end>"));
  const Tokenizer gap = load(root);
  EXPECT_EQ(gap.vocab_size(), 301);
  expect_error(error_of([&] { gap.decode(Ids{299}); }), "id 299 has no token");
  EXPECT_FALSE(gap.has_token(299));
  EXPECT_EQ(gap.decode(Ids{300}), "<end>");
}

TEST(Tokenizer, EncodeRefusesInvalidUtf8) {
  expect_error(error_of([] { smollm2().encode("ab\xFF"); }), "byte 2");
  expect_error(error_of([] { smollm2().encode("\xED\xA0\x80"); }), "byte 0");
}

TEST(Tokenizer, DecodeOfEncodeIsTheText) {
  std::vector<Tokenizer> tokenizers = {load(tiny())};
  for (const char* name : {"deepseek_v3", "llama3"}) {
    const std::string folder = kShared + "/data/tokenizers/" + name;
    if (std::filesystem::exists(folder)) tokenizers.push_back(Tokenizer::load(folder));
  }
  std::mt19937 random(11);
  for (int i = 0; i < 3000; ++i) {
    const std::string text = random_text(random);
    for (const Tokenizer& t : tokenizers) {
      EXPECT_EQ(t.decode(t.encode(text)), text);
      EXPECT_EQ(t.decode(t.encode(text, false)), text);
    }
  }
}

TEST(Tokenizer, LongWordsAndThreads) {
  const Tokenizer t = smollm2();
  const std::string letters(1000000, 'a'), spaces(1000000, ' ');
  const Ids ids = t.encode(letters);
  EXPECT_EQ(t.decode(ids), letters);
  EXPECT_LT(ids.size(), letters.size() / 2);
  EXPECT_EQ(t.decode(t.encode(spaces)), spaces);
  // A second thread finds the cache in use and must give the same ids.
  const std::string text = "The quick brown fox, 12 dogs. ";
  std::string repeated;
  for (int i = 0; i < 2000; ++i) repeated += text;
  const Ids expected = t.encode(repeated);
  std::vector<Ids> got(4);
  std::vector<std::thread> threads;
  for (Ids& out : got) threads.emplace_back([&] { out = t.encode(repeated); });
  for (std::thread& thread : threads) thread.join();
  for (const Ids& out : got) EXPECT_EQ(out, expected);
}

// More different pieces than are kept, twice.
TEST(Tokenizer, FullPieceCache) {
  std::string text;
  for (int i = 0; i < 70000; ++i) {
    text += ' ';
    for (int rest = i; rest > 0; rest /= 26) text += static_cast<char>('a' + rest % 26);
  }
  const Tokenizer t = smollm2();
  const Ids ids = t.encode(text);
  EXPECT_EQ(t.decode(ids), text);
  EXPECT_EQ(t.encode(text), ids);
}

TEST(Tokenizer, AddedTokenFlags) {
  Json root = tiny();
  root["added_tokens"] = {added(300, "<a>"), added(301, "<a><b>"),
                          added(302, "<l>", {{"lstrip", true}}),
                          added(303, "<r>", {{"rstrip", true}}),
                          added(304, "word", {{"single_word", true}, {"special", false}})};
  const Tokenizer t = load(root);
  EXPECT_EQ(t.encode("<a><b><a>"), (Ids{301, 300}));  // the longest
  EXPECT_EQ(t.encode("x \u3000<l>"), (Ids{t.encode("x")[0], 302}));
  EXPECT_EQ(t.encode("<r> \n x"), (Ids{303, t.encode("x")[0]}));
  EXPECT_EQ(t.encode("<r>  <l>"), (Ids{303, 302}));
  EXPECT_EQ(t.encode("word"), Ids{304});
  EXPECT_EQ(t.encode("-word-").size(), 3u);
  EXPECT_EQ(t.encode("words").size(), 5u);
  EXPECT_EQ(t.decode(Ids{300, 304}, true), "word");
}

TEST(Tokenizer, NfcAndNormalizedTokens) {
  Json root = tiny();
  root["normalizer"] = {{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}}}};
  root["added_tokens"] = {added(300, "e\u0301", {{"normalized", true}}), added(301, "a\u0301")};
  const Tokenizer t = load(root);
  EXPECT_EQ(t.encode("\u00e9"), Ids{300});
  EXPECT_EQ(t.encode("e\u0301"), Ids{300});
  EXPECT_EQ(t.encode("a\u0301"), Ids{301});
  EXPECT_EQ(t.encode("\u00e1").size(), 2u);
}

TEST(Tokenizer, PreTokenizerSteps) {
  const auto pieces = [](const Json& pre, const std::string& text) {
    Json root = tiny();
    Json& vocab = root["model"]["vocab"];
    root["model"]["merges"] = Json::array();
    vocab["ab"] = 300;
    vocab["b-"] = 301;
    vocab["-a"] = 302;
    vocab["--"] = 303;
    vocab["\u0120a"] = 304;
    vocab["12"] = 305;
    root["model"]["merges"] = {"a b", "b -", "- a", "- -", "\u0120 a", "1 2"};
    root["pre_tokenizer"] = {
        {"type", "Sequence"},
        {"pretokenizers",
         {pre, {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}};
    const Tokenizer t = load(root);
    Json list = Json::array();
    for (const int32_t id : t.encode(text)) list.push_back(t.decode(Ids{id}));
    return list;
  };
  const auto split = [](const std::string& behavior, bool invert = false) {
    return Json{{"type", "Split"},
                {"pattern", {{"String", "-"}}},
                {"behavior", behavior},
                {"invert", invert}};
  };
  EXPECT_EQ(pieces(split("Isolated"), "ab--ab"), (Json{"ab", "-", "-", "ab"}));
  EXPECT_EQ(pieces(split("Contiguous"), "ab--ab"), (Json{"ab", "--", "ab"}));
  EXPECT_EQ(pieces(split("Removed"), "ab--ab"), (Json{"ab", "ab"}));
  EXPECT_EQ(pieces(split("Removed", true), "ab--ab"), (Json{"-", "-"}));
  EXPECT_EQ(pieces(split("MergedWithPrevious"), "b-ab"), (Json{"b-", "ab"}));
  EXPECT_EQ(pieces(split("MergedWithPrevious"), "a--ab"), (Json{"a", "-", "-", "ab"}));
  EXPECT_EQ(pieces(split("MergedWithNext"), "--b"), (Json{"-", "-", "b"}));
  EXPECT_EQ(pieces(split("MergedWithNext"), "b-a"), (Json{"b", "-a"}));
  const Json one = {{"type", "Digits"}, {"individual_digits", true}};
  const Json all = {{"type", "Digits"}, {"individual_digits", false}};
  EXPECT_EQ(pieces(one, "ab12"), (Json{"ab", "1", "2"}));
  EXPECT_EQ(pieces(all, "ab12"), (Json{"ab", "12"}));
  Json root = tiny();
  root["pre_tokenizer"]["add_prefix_space"] = true;
  EXPECT_EQ(load(root).decode(load(root).encode("hello")), " hello");
  EXPECT_EQ(load(root).decode(load(root).encode(" hello")), " hello");
}

TEST(Tokenizer, PostProcessorAndConfig) {
  Json root = tiny();
  root["added_tokens"] = {added(300, "<s>"), added(301, "</s>")};
  root["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single",
       {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}}, {{"Sequence", {{"id", "A"}}}}}}};
  TokenizerFiles files;
  files.tokenizer_json = root.dump();
  files.tokenizer_config_json =
      R"({"bos_token": {"content": "<s>"}, "eos_token": "</s>", "pad_token": null,
          "chat_template": [{"name": "tool", "template": "x"},
                            {"name": "default", "template": "y"}]})";
  const Tokenizer t = Tokenizer::from_files(files, "m/tokenizer.json");
  EXPECT_EQ(t.prefix_ids(), Ids{300});
  EXPECT_TRUE(t.suffix_ids().empty());
  EXPECT_EQ(t.bos_id(), 300);
  EXPECT_EQ(t.eos_id(), 301);
  EXPECT_EQ(t.pad_id(), std::nullopt);
  EXPECT_EQ(t.chat_template(), "y");
  EXPECT_EQ(t.files().tokenizer_json, files.tokenizer_json);
  files.chat_template_jinja = "z";
  EXPECT_EQ(Tokenizer::from_files(files, "m/tokenizer.json").chat_template(), "z");
  files.tokenizer_config_json = R"({"bos_token": "<t>"})";
  expect_error(error_of([&] { Tokenizer::from_files(files, "m/tokenizer.json"); }), "<t>");
}

TEST(Tokenizer, HostileFilesAreRefused) {
  EXPECT_EQ(load_error(tiny()), "");
  const auto change = [](auto&& f) {
    Json root = tiny();
    f(root);
    return load_error(root);
  };
  expect_error(change([](Json& r) { r.erase("model"); }), "model is missing");
  expect_error(change([](Json& r) { r["model"].erase("vocab"); }), "model.vocab is missing");
  expect_error(change([](Json& r) { r["model"].erase("merges"); }), "model.merges is missing");
  expect_error(change([](Json& r) { r["model"]["type"] = "Unigram"; }), "Unigram");
  expect_error(change([](Json& r) { r["model"]["unk_token"] = "<unk>"; }), "unk_token");
  expect_error(change([](Json& r) { r["model"]["byte_fallback"] = true; }), "byte_fallback");
  expect_error(change([](Json& r) { r["model"]["dropout"] = 0.1; }), "dropout");
  expect_error(change([](Json& r) { r["model"]["end_of_word_suffix"] = "</w>"; }), "suffix");
  expect_error(change([](Json& r) { r["model"]["vocab"]["x1"] = 0; }), "id 0 belongs to both");
  expect_error(change([](Json& r) { r["model"]["vocab"]["x1"] = -1; }), "token \"x1\"");
  expect_error(change([](Json& r) { r["model"]["vocab"]["x1"] = 4294967296; }), "token \"x1\"");
  expect_error(change([](Json& r) { r["model"]["vocab"]["x1"] = 4000000; }), "far outside");
  expect_error(change([](Json& r) { r["model"]["vocab"]["x1"] = "7"; }), "token \"x1\"");
  expect_error(change([](Json& r) { r["model"]["merges"].push_back("he zz"); }), "\"zz\"");
  expect_error(change([](Json& r) { r["model"]["merges"].push_back("h h"); }), "\"hh\"");
  expect_error(change([](Json& r) { r["model"]["merges"].push_back("h"); }), "two parts");
  expect_error(change([](Json& r) { r["model"]["merges"].push_back({"h", "e", "l"}); }), "two");
  expect_error(change([](Json& r) { r["model"]["merges"].push_back(5); }), "merges");
  expect_error(change([](Json& r) { r["added_tokens"] = {added(3, "<x>")}; }), "id 3 belongs");
  expect_error(change([](Json& r) { r["added_tokens"] = {added(300, "he")}; }), "has id 300");
  expect_error(change([](Json& r) {
                 r["added_tokens"] = {added(300, "<x>"), added(301, "<x>")};
               }),
               "twice");
  expect_error(change([](Json& r) { r["added_tokens"] = {added(300, "")}; }), "empty");
  expect_error(change([](Json& r) { r["added_tokens"] = {added(-2, "<x>")}; }), "id");
  expect_error(change([](Json& r) { r["normalizer"] = {{"type", "NFKC"}}; }), "NFKC");
  expect_error(change([](Json& r) { r["pre_tokenizer"] = nullptr; }), "ByteLevel");
  expect_error(change([](Json& r) { r["pre_tokenizer"] = {{"type", "Metaspace"}}; }), "Metaspace");
  expect_error(change([](Json& r) { r["decoder"] = nullptr; }), "decoder");
  expect_error(change([](Json& r) { r["decoder"] = {{"type", "WordPiece"}}; }), "WordPiece");
  expect_error(change([](Json& r) { r["post_processor"] = {{"type", "BertProcessing"}}; }), "Bert");
  std::string twice = tiny().dump();
  twice.replace(twice.find("\"vocab\":{"), 9, "\"vocab\":{\"he\":1,");
  expect_error(error_of([&] { Tokenizer::from_json(twice, "t"); }), "t: ");
  for (const char* text : {"", "[]", "{", "5", "{\"model\":[]}", "{\"model\":{\"vocab\":{}}}"})
    EXPECT_NE(error_of([&] { Tokenizer::from_json(text, "t"); }), "") << text;
}

GgufTokenizer gguf_of(const std::string& folder, const std::string& pre) {
  // Sorted keys: an ordered object takes quadratic time for a vocabulary.
  const nlohmann::json root =
      nlohmann::json::parse(read_text_file(folder + "/tokenizer.json", uint64_t{64} << 20));
  GgufTokenizer g;
  g.model = "gpt2";
  g.pre = pre;
  int32_t largest = 0;
  for (const auto& item : root["model"]["vocab"].items())
    largest = std::max(largest, item.value().get<int32_t>());
  for (const auto& token : root["added_tokens"])
    largest = std::max(largest, token["id"].get<int32_t>());
  g.tokens.resize(static_cast<size_t>(largest) + 3);  // two rows of padding
  g.token_types.assign(g.tokens.size(), 5);
  for (const auto& item : root["model"]["vocab"].items()) {
    const auto id = item.value().get<size_t>();
    g.tokens[id] = item.key();
    g.token_types[id] = 1;
  }
  for (const auto& token : root["added_tokens"]) {
    const auto id = token["id"].get<size_t>();
    g.tokens[id] = token["content"];
    g.token_types[id] = token["special"].get<bool>() ? 3 : 4;
  }
  for (const auto& merge : root["model"]["merges"])
    g.merges.push_back(merge.is_string()
                           ? merge.get<std::string>()
                           : merge[0].get<std::string>() + " " + merge[1].get<std::string>());
  return g;
}

void check_gguf(const std::string& folder, const std::string& pre, const std::string& prefix) {
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << folder << " is absent";
  GgufTokenizer source = gguf_of(folder, pre);
  source.bos_id = 1;
  source.eos_id = 2;
  source.chat_template = "{{ messages }}";
  const Tokenizer t = Tokenizer::from_gguf(source, "m.gguf");
  check_golden(t, prefix);
  EXPECT_FALSE(t.has_token(static_cast<int32_t>(source.tokens.size()) - 1));
  const TokenizerFiles files = t.files();
  const Tokenizer again = Tokenizer::from_files(files, "m/tokenizer.json");
  check_golden(again, prefix);
  EXPECT_EQ(again.bos_id(), 1);
  EXPECT_EQ(again.eos_id(), 2);
  EXPECT_EQ(again.chat_template(), "{{ messages }}");
}
TEST(GgufTokenizer, SmolLm2) { check_gguf(kGolden + "smollm2", "smollm", kGolden + "smollm2"); }
TEST(GgufTokenizer, Qwen3) {
  check_gguf(kShared + "/data/tokenizers/qwen3", "qwen2", kShared + "/golden/tokenizers/qwen3");
}
TEST(GgufTokenizer, Llama3) {
  check_gguf(kShared + "/data/tokenizers/llama3", "llama-bpe",
             kShared + "/golden/tokenizers/llama3");
}
TEST(GgufTokenizer, DeepSeekV3) {
  check_gguf(kShared + "/data/tokenizers/deepseek_v3", "deepseek-v3",
             kShared + "/golden/tokenizers/deepseek_v3");
}

TEST(GgufTokenizer, Refusals) {
  GgufTokenizer g = gguf_of(kGolden + "smollm2", "smollm");
  const auto error = [](const GgufTokenizer& source) {
    return error_of([&] { Tokenizer::from_gguf(source, "m.gguf"); });
  };
  GgufTokenizer bad = g;
  bad.pre = "nonsense";
  expect_error(error(bad), "known: smollm, gpt-2, qwen2");
  bad = g;
  bad.model = "llama";
  expect_error(error(bad), "gpt2");
  bad = g;
  bad.token_types.pop_back();
  expect_error(error(bad), "token types");
  bad = g;
  bad.merges[7] = "a";
  expect_error(error(bad), "two parts");
  bad = g;
  bad.eos_id = 1000000;
  expect_error(error(bad), "1000000");
  for (const std::string& pre : gguf_pre_tokenizers()) {
    g.pre = pre;
    EXPECT_EQ(error(g), "");
  }
}

}  // namespace
}  // namespace r1
