// The verbs that compute, through the program: the numbers of the reference models.
#include <gtest/gtest.h>

#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "data/jsonl.h"
#include "data/safetensors.h"
#include "tests/apps/program.h"
#include "tests/nn/golden.h"

namespace r1 {
namespace {

using test::Outcome;
using test::run;
using test::TemporaryFolder;
using testing::GoldenModel;

std::string ids_lines(const std::vector<std::vector<std::int32_t>>& rows) {
  std::string s;
  for (const auto& row : rows) s += fmt::format("{{\"ids\":[{}]}}\n", fmt::join(row, ","));
  return s;
}

class Verbs : public ::testing::TestWithParam<const char*> {};

TEST_P(Verbs, ScoreGradAndGenerate) {
  const GoldenModel g(GetParam());
  const TemporaryFolder folder;
  const std::string data = folder.file("data.jsonl");
  test::write_all(data, ids_lines(g.rows()));

  const Outcome score = run({"score", "--model", g.folder, "--data", data, "--dtype", "f64"});
  ASSERT_EQ(score.code, 0) << score.err;
  std::vector<double> logprobs;
  for (const JsonLine& line : parse_jsonl(score.out, "stdout")) {
    const auto row = line.value["logprobs"].get<std::vector<double>>();
    double nll = 0;
    for (const double x : row) nll -= x;
    EXPECT_NEAR(line.value["nll"].get<double>(), nll, 1e-12);
    EXPECT_EQ(line.value["tokens"].get<std::size_t>(), row.size());
    logprobs.insert(logprobs.end(), row.begin(), row.end());
  }
  EXPECT_LE(testing::max_abs_difference(logprobs, g.numbers("logprobs")), 1e-9);

  const std::string out = folder.file("g.safetensors");
  const Outcome grad =
      run({"grad", "--model", g.folder, "--data", data, "--dtype", "f64", "--out", out});
  ASSERT_EQ(grad.code, 0) << grad.err;
  const auto file = SafetensorsFile::open(out);
  std::size_t wanted = 0;
  for (const TensorEntry& e : g.expected.entries()) {
    if (!e.name.starts_with("grad.")) continue;
    ++wanted;
    const TensorEntry& got = file.at(e.name.substr(5));
    EXPECT_EQ(got.dims, e.dims);
    const auto want = g.numbers(e.name);
    const auto values = read_tensor(got, DType::f64, out).to_vector();
    EXPECT_LE(testing::max_abs_difference(values, want), 1e-6 * testing::max_abs(want)) << e.name;
  }
  EXPECT_EQ(file.entries().size(), wanted);

  test::write_all(data, ids_lines({g.ids("greedy_prompt"), g.rows()[0]}));
  const Outcome text = run({"generate", "--model", g.folder, "--data", data, "--temperature", "0",
                            "--max-new-tokens", "12", "--ignore-eos", "--n", "2", "--json"});
  ASSERT_EQ(text.code, 0) << text.err;
  const auto lines = parse_jsonl(text.out, "stdout");
  ASSERT_EQ(lines.size(), 4u);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(lines[i].value["index"], i / 2);
    EXPECT_EQ(lines[i].value["sample"], i % 2);
    EXPECT_EQ(lines[i].value["finish_reason"], "length");
    EXPECT_EQ(lines[i].value["logprobs"].size(), 12u);
    EXPECT_FALSE(lines[i].value.contains("text"));  // there is no tokenizer
  }
  EXPECT_EQ(lines[1].value["ids"].get<std::vector<std::int32_t>>(), g.ids("greedy"));
}

INSTANTIATE_TEST_SUITE_P(Models, Verbs,
                         ::testing::Values("llama_plain", "llama3_rope", "qwen2", "qwen3"),
                         [](const auto& model) { return std::string(model.param); });

TEST(VerbErrors, OneLineThatSaysWhatAndWhere) {
  const TemporaryFolder folder;
  const std::string model = testing::golden("models/llama_plain"), data = folder.file("d.jsonl");
  auto expect = [&](const std::string& lines, const char* part, int code,
                    const std::vector<std::string>& arguments) {
    test::write_all(data, lines);
    const Outcome o = run(arguments);
    EXPECT_EQ(o.code, code) << o.err;
    EXPECT_TRUE(o.one_line()) << o.err;
    EXPECT_NE(o.err.find(part), std::string::npos) << o.err;
    EXPECT_EQ(o.out, "");
  };
  const std::vector<std::string> score = {"score", "--model", model, "--data", data};
  expect("{\"ids\":[1,97]}", "outside the model's vocabulary of 97", 1, score);
  expect("{\"ids\":[1,\"a\"]}", "line 1: ids: element 1", 1, score);
  expect("{\"text\":\"a\"}", "no tokenizer", 1, score);
  expect("", "empty", 1, score);
  expect("{", "line 1", 1, score);
  std::string longer = "{\"ids\":[1";
  for (int i = 0; i < 128; ++i) longer += ",1";
  expect(longer + "]}", "max_position_embeddings 128", 1, score);
  expect("{\"ids\":[1]}", "no such file", 1, {"score", "--model", "/nowhere", "--data", data});
  const std::string run_folder = folder.file("run");
  const std::vector<std::string> sft = {"sft",   "--model",  model,           "--data", data,
                                        "--out", run_folder, "--train.steps", "1"};
  expect("{\"ids\":[1]}", "no line has a token to learn", 1, sft);
  EXPECT_FALSE(std::filesystem::exists(run_folder));
  test::write_all(data, "{\"ids\":[1,2,3]}");
  EXPECT_EQ(run(sft).code, 0);
  expect("{\"ids\":[1,2,3]}", "--resume", 1, sft);
  expect("{\"ids\":[1,2,3]}", "--prompt", 2, {"generate", "--model", model});
}

}  // namespace
}  // namespace r1
