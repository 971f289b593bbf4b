#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/apps/program.h"

namespace r1::test {
namespace {

using nlohmann::json;

json env(const std::vector<std::string>& variables, std::vector<std::string> words = {}) {
  words.insert(words.begin(), {"env", "--json"});
  const Outcome outcome = run(Request{words, variables, {}});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.err, "");
  return json::parse(outcome.out);
}

TEST(Env, JsonHasEverythingABugReportNeeds) {
  const json e = env({});
  for (const char* key : {"version", "system", "processor", "cores", "instruction_sets",
                          "instruction_set", "threads", "memory", "limits"})
    EXPECT_TRUE(e.contains(key)) << key;
  EXPECT_GT(e["memory"]["total"].get<double>(), 1e6);
  EXPECT_GE(e["cores"]["usable"].get<int>(), 1);
  // The best set of this machine is the one in use.
  EXPECT_EQ(e["instruction_sets"].back(), e["instruction_set"]);
}

TEST(Env, TextHasTheSame) {
  const Outcome outcome = run({"env"});
  EXPECT_EQ(outcome.code, 0);
  for (const char* word : {"version ", "system ", "processor ", "cores ", "(in use: ", "threads ",
                           "memory ", "limits "})
    EXPECT_NE(outcome.out.find(word), std::string::npos) << word;
}

TEST(Env, TheInstructionSetCanBeLowered) {
  const json e = env({});
  for (const json& name : e["instruction_sets"])
    EXPECT_EQ(env({"R1_ISA=" + name.get<std::string>()})["instruction_set"], name);
  const Outcome outcome = run(Request{{"env"}, {"R1_ISA=mmx"}, {}});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_TRUE(outcome.one_line()) << outcome.err;
  EXPECT_NE(outcome.err.find("mmx"), std::string::npos);
}

TEST(Env, ThreadsFromFlagAndEnvironment) {
  EXPECT_EQ(env({}, {"--threads", "1024"})["threads"], 1024);
  EXPECT_EQ(env({"R1_THREADS=7"})["threads"], 7);
  EXPECT_EQ(env({"R1_THREADS=7"}, {"--threads=2"})["threads"], 2);
  EXPECT_EQ(env({"R1_THREADS="})["threads"], env({})["threads"]);
  const Outcome outcome = run(Request{{"env"}, {"R1_THREADS=many"}, {}});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_NE(outcome.err.find("R1_THREADS: expected integer, got 'many'"), std::string::npos);
}

TEST(Env, LimitsAreThoseOfTheProcess) {
  const TemporaryFolder folder;
  const std::string command =
      "ulimit -n 123; '" R1_PROGRAM "' env --json >'" + folder.file("out") + "'";
  ASSERT_EQ(std::system(command.c_str()), 0);
  EXPECT_EQ(json::parse(read_all(folder.file("out")))["limits"]["open_files"], 123);
}

}  // namespace
}  // namespace r1::test
