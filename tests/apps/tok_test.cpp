// `r1 tok encode|decode|chat` on the reference lines, and on bad ones.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/apps/program.h"

namespace r1::test {
namespace {

using nlohmann::json;

const std::string kGolden = std::string(R1_GOLDEN_DIR) + "/tokenizers/";
const std::string kModel = kGolden + "smollm2";

std::vector<json> parse_lines(const std::string& text) {
  std::vector<json> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(json::parse(line));
  return lines;
}

// Every output line equals the member `key` of the input line.
void check(const std::string& verb, const std::string& kind, const char* key) {
  const TemporaryFolder folder;
  const std::string data = kGolden + "smollm2." + kind + ".jsonl", out = folder.file("out.jsonl");
  const Outcome outcome = run({"tok", verb, "--model", kModel, "--data", data, "--out", out});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "");
  const auto want = parse_lines(read_all(data)), got = parse_lines(read_all(out));
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i], json({{key, want[i][key]}}));
}

TEST(Tok, Encode) { check("encode", "encode", "ids"); }
TEST(Tok, Decode) { check("decode", "decode", "text"); }
TEST(Tok, Chat) { check("chat", "chat", "text"); }

Outcome run_on(const std::string& verb, const std::string& lines,
               const std::vector<std::string>& more = {}) {
  const TemporaryFolder folder;
  write_all(folder.file("data.jsonl"), lines);
  std::vector<std::string> words = {
      "tok", verb, "--model", kModel + "/tokenizer.json", "--data", folder.file("data.jsonl")};
  words.insert(words.end(), more.begin(), more.end());
  return run(words);
}

TEST(Tok, Flags) {
  EXPECT_EQ(run_on("encode", "\xEF\xBB\xBF{\"text\":\"<|im_end|>\"}\r\n\r\n").out,
            "{\"ids\":[2]}\n");
  const Outcome plain = run_on("encode", "{\"text\":\"<|im_end|>\"}", {"--plain"});
  EXPECT_GT(json::parse(plain.out)["ids"].size(), 1u);
  EXPECT_EQ(run_on("decode", "{\"ids\":[2]}").out, "{\"text\":\"<|im_end|>\"}\n");
  EXPECT_EQ(run_on("decode", "{\"ids\":[2]}", {"--skip-special"}).out, "{\"text\":\"\"}\n");
  const std::string hi = R"({"messages":[{"role":"user","content":"hi"}]})";
  EXPECT_EQ(run_on("chat", hi, {"--form", "chatml"}).out,
            "{\"text\":\"<|im_start|>user\\nhi<|im_end|>\\n\"}\n");
}

TEST(Tok, ErrorsNameTheLine) {
  const auto expect = [](const Outcome& outcome, const std::string& part) {
    EXPECT_EQ(outcome.code, 1);
    EXPECT_TRUE(outcome.one_line()) << outcome.err;
    EXPECT_NE(outcome.err.find(part), std::string::npos) << outcome.err;
  };
  expect(run_on("encode", "{\"text\":\"a\"}\n\n{\"txt\":1}\n"), "data.jsonl: line 3: ");
  expect(run_on("encode", "{\"text\":\"a\"}\n{\"text\":\n"), "data.jsonl: line 2: ");
  expect(run_on("decode", "{\"ids\":[49152]}"), "49152");
  expect(run_on("decode", "{\"ids\":[1.5]}"), "ids[0]: expected an integer");
  expect(run_on("decode", "{\"ids\":[18446744073709551615]}"), "18446744073709551615");
  expect(run_on("chat", "{\"messages\":[]}", {"--form", "chatml"}), "line 1: chat: there are no");
  EXPECT_EQ(run({"tok", "chat", "--model", kModel, "--form", "gpt"}).code, 2);
  EXPECT_EQ(run({"tok", "encode", "--model", kModel, "--data", "/no/such/file"}).code, 1);
  // A failed run leaves no output behind.
  const TemporaryFolder folder;
  write_all(folder.file("data.jsonl"), "{\"text\":\"a\"}\n5\n");
  EXPECT_EQ(run({"tok", "encode", "--model", kModel, "--data", folder.file("data.jsonl"), "--out",
                 folder.file("out.jsonl")})
                .code,
            1);
  EXPECT_FALSE(std::filesystem::exists(folder.file("out.jsonl")));
}

}  // namespace
}  // namespace r1::test
