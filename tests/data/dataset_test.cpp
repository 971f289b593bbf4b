#include "data/dataset.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "tensor/error.h"

namespace r1 {
namespace {

const TextReader& smollm2() {
  static const TextReader reader = [] {
    TextReader r;
    r.tokenizer = Tokenizer::from_json_file(std::string(R1_GOLDEN_DIR) + "/tokenizers/smollm2");
    r.chat = ChatForm::by_name("smollm2");
    r.source = "smollm2";
    return r;
  }();
  return reader;
}

Example example(const std::string& line, const TextReader& reader = smollm2()) {
  return read_example(parse_jsonl(line, "data.jsonl").at(0), "data.jsonl", reader);
}

std::string learnt_text(const Example& e) {
  std::vector<std::int32_t> ids;
  for (std::size_t t = 0; t < e.ids.size(); ++t) {
    if (e.learns(t)) ids.push_back(e.ids[t]);
  }
  return smollm2().tokenizer->decode(ids);
}

TEST(Dataset, IdsAreLearntButForTheFirst) {
  const Example e = example(R"({"ids":[5,6,7]})");
  EXPECT_EQ(e.ids, (std::vector<std::int32_t>{5, 6, 7}));
  EXPECT_EQ(e.targets(), 2);
  EXPECT_FALSE(e.learns(0));
  EXPECT_EQ(example(R"({"ids":[5,6,7],"learn":[1,0,1]})").targets(), 1);
}

TEST(Dataset, OnlyTheCompletionIsLearntWithItsEnd) {
  const Example e = example(R"({"prompt":"One and two is","completion":" three."})");
  EXPECT_EQ(smollm2().tokenizer->decode(e.ids), "One and two is three.<|im_end|>");
  EXPECT_EQ(learnt_text(e), " three.<|im_end|>");
}

TEST(Dataset, OnlyTheAssistantIsLearnt) {
  const Example e = example(
      R"({"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Yes?"},)"
      R"({"role":"user","content":"Bye"},{"role":"assistant","content":"Bye!"}]})");
  EXPECT_EQ(learnt_text(e), "Yes?<|im_end|>Bye!<|im_end|>");
}

TEST(Dataset, TextIsLearntWithItsEnd) {
  EXPECT_TRUE(learnt_text(example(R"({"text":"The sky is blue."})")).ends_with("<|im_end|>"));
}

void expect_error(const std::string& line, const std::string& part, const TextReader& reader) {
  try {
    example(line, reader);
    ADD_FAILURE() << line;
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("data.jsonl: line 1"), std::string::npos) << e.what();
  }
}

TEST(Dataset, WrongLinesAreNamed) {
  const TextReader bare{std::nullopt, std::nullopt, "folder"};
  expect_error(R"({"text":"a"})", "no tokenizer", bare);
  expect_error(R"({"ids":[1,-2]})", "element 1", bare);
  expect_error(R"({"ids":"1 2"})", "expected a list", bare);
  expect_error(R"({"ids":[1,2],"learn":[1]})", "learn has 1 entries for 2 ids", bare);
  expect_error(R"({"answer":"a"})", "expected \"ids\"", bare);
  expect_error(R"({"prompt":"a","completion":3})", "expected string", smollm2());
}

TEST(Dataset, LinesThatAreNoObjectsAreRefused) {
  EXPECT_THROW(parse_jsonl("", "f"), Error);
  EXPECT_THROW(parse_jsonl("\n \n", "f"), Error);
  EXPECT_THROW(parse_jsonl("[1]", "f"), Error);
  EXPECT_EQ(parse_jsonl("\xef\xbb\xbf{}\r\n\r\n{}", "f").at(1).number, 3);
}

TEST(DataOrder, EveryEpochIsAPermutationOfItsOwn) {
  DataOrder order(20, true, 7), again(20, true, 7), other(20, true, 8);
  std::vector<std::size_t> first, second, foreign;
  for (std::uint64_t n = 0; n < 20; ++n) first.push_back(order.at(n));
  for (std::uint64_t n = 20; n < 40; ++n) second.push_back(order.at(n));
  for (std::uint64_t n = 0; n < 20; ++n) foreign.push_back(other.at(n));
  EXPECT_EQ(std::set<std::size_t>(first.begin(), first.end()).size(), 20u);
  EXPECT_EQ(std::set<std::size_t>(second.begin(), second.end()).size(), 20u);
  EXPECT_NE(first, second);
  EXPECT_NE(first, foreign);
  for (const std::uint64_t n : {33u, 5u, 21u}) {  // any place, in any order
    EXPECT_EQ(again.at(n), n < 20 ? first[n] : second[n - 20]);
  }
}

TEST(DataOrder, WithoutShufflingLinesFollowEachOther) {
  DataOrder order(3, false, 7);
  for (std::uint64_t n = 0; n < 9; ++n) EXPECT_EQ(order.at(n), n % 3);
}

}  // namespace
}  // namespace r1
