// The program as a whole: help, errors, exit codes, standard output.
#include <gtest/gtest.h>

#include "tests/apps/program.h"

namespace r1::test {
namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Program, HelpGroupsTheVerbs) {
  const Outcome help = run({"--help"});
  EXPECT_EQ(help.code, 0);
  EXPECT_EQ(help.err, "");
  for (const char* word :
       {"Models:", "Training:", "Program:", "\n  inspect ", "\n  env ", "\n  tok ", "\n  score ",
        "\n  grad ", "\n  generate ", "\n  pretrain ", "\n  sft "})
    EXPECT_TRUE(contains(help.out, word)) << word << "\n" << help.out;
  EXPECT_EQ(run({"-h"}).out, help.out);
  EXPECT_EQ(run({"help"}).out, help.out);
}

TEST(Program, EveryVerbHasHelpThatFitsTheScreen) {
  for (const char* verb :
       {"inspect", "env", "tok", "score", "grad", "generate", "pretrain", "sft"}) {
    const Outcome help = run({verb, "--help"});
    EXPECT_EQ(help.code, 0) << verb;
    EXPECT_EQ(help.out.rfind(std::string("r1 ") + verb + ":", 0), 0u) << help.out;
    EXPECT_TRUE(contains(help.out, "\nUsage: r1 ")) << help.out;
    EXPECT_EQ(help.out.back(), '\n') << verb;
    EXPECT_EQ(run({"help", verb}).out, help.out);
    // Options and their explanations, wrapped at 100 columns.
    std::size_t begin = 0;
    for (std::size_t end; (end = help.out.find('\n', begin)) != std::string::npos;
         begin = end + 1) {
      if (help.out.compare(begin, 2, "  ") == 0) {
        EXPECT_LE(end - begin, 100u) << help.out;
      }
    }
  }
}

TEST(Program, WithoutArgumentsItShowsHowItIsUsed) {
  const Outcome bare = run(std::vector<std::string>{});
  EXPECT_EQ(bare.code, 2);
  EXPECT_EQ(bare.out, "");
  EXPECT_TRUE(contains(bare.err, "Usage: r1 VERB"));
  EXPECT_EQ(run({"tok"}).code, 2);
}

TEST(Program, Version) {
  const Outcome version = run({"--version"});
  EXPECT_EQ(version.code, 0);
  EXPECT_EQ(version.out.rfind("r1 0.", 0), 0u);
  EXPECT_TRUE(contains(version.out, "instruction set: "));
}

TEST(Program, UnknownWordsNameTheNearestKnownOne) {
  struct Case {
    std::vector<std::string> words;
    std::string message;
  };
  const Case cases[] = {
      {{"scroe"}, "r1: unknown verb 'scroe', did you mean 'score'?"},
      {{"--versoin"}, "r1: unknown option '--versoin', did you mean '--version'?"},
      {{"env", "--jsno"}, "r1 env: unknown option --jsno, did you mean --json?"},
      {{"env", "--jsno=3"}, "r1 env: unknown option --jsno, did you mean --json?"},
      {{"sft", "--optim.lrr", "1"}, "unknown option --optim.lrr, did you mean --optim.lr?"},
      {{"sft", "--lr", "1"}, "unknown option --lr, did you mean --optim.lr?"},
      {{"tok", "encod"}, "r1 tok: unknown verb 'encod', did you mean 'encode'?"},
      {{"env", "--qqqqqqqq"}, "r1 env: unknown option --qqqqqqqq (try r1 env --help)"},
      {{"env", "extra"}, "r1 env: unexpected argument 'extra'"},
      {{"env", "--threads"}, "r1 env: --threads: needs a value"},
      {{"env", "--threads", "two"}, "r1 env: --threads: expected integer, got 'two'"},
      {{"env", "--threads", ""}, "r1 env: --threads: expected integer, got ''"},
      {{"env", "--threads=", "--json"}, "r1 env: --threads: expected integer, got ''"},
      {{"env", "--threads", "0"},
       "--threads: 0 is out of range, it must be at least 1 and at most"},
      {{"env", "--threads", "1025"}, "--threads: 1025 is out of range"},
      {{"inspect"}, "r1 inspect: missing M"},
  };
  for (const Case& c : cases) {
    const Outcome outcome = run(c.words);
    EXPECT_EQ(outcome.code, 2) << c.message;
    EXPECT_EQ(outcome.out, "") << c.message;
    EXPECT_TRUE(outcome.one_line()) << outcome.err;
    EXPECT_TRUE(contains(outcome.err, c.message)) << outcome.err;
    EXPECT_TRUE(contains(outcome.err, "--help)\n")) << outcome.err;
  }
}

TEST(Program, ErrorsAreOneLineAndExitCodeOne) {
  const Outcome outcome = run({"inspect", "/no\nsuch/model"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(outcome.out, "");
  EXPECT_TRUE(outcome.one_line()) << outcome.err;
  EXPECT_EQ(outcome.err.rfind("r1 inspect: ", 0), 0u) << outcome.err;
}

TEST(Program, AFullDiskIsAnError) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP();
  const Outcome outcome = run(Request{{"env"}, {}, "/dev/full"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(outcome.err, "r1 env: cannot write to standard output: No space left on device\n");
}

TEST(Program, AReaderThatHasGoneIsNone) {
  // A pipe without a reader from the start: the shell's `true` ends before r1 is let run.
  const TemporaryFolder folder;
  const std::string command = "{ sleep 0.2; '" R1_PROGRAM "' env; echo $? >'" +
                              folder.file("code") + "'; } 2>'" + folder.file("err") + "' | true";
  ASSERT_EQ(std::system(command.c_str()), 0);
  for (int i = 0; i < 200 && read_all(folder.file("code")).empty(); ++i) usleep(50000);
  EXPECT_EQ(read_all(folder.file("code")), "0\n");
  EXPECT_EQ(read_all(folder.file("err")), "");
}

TEST(Program, AClosedStandardOutputIsAnError) {
  const TemporaryFolder folder;
  const std::string command = "'" R1_PROGRAM "' env >&- 2>'" + folder.file("err") + "'";
  const int status = std::system(command.c_str());
  EXPECT_EQ(WEXITSTATUS(status), 1);
  EXPECT_EQ(read_all(folder.file("err")).rfind("r1 env: cannot write to standard output", 0), 0u);
}

TEST(Program, TheLastOfARepeatedFlagCounts) {
  const Outcome outcome = run({"env", "--json", "--threads", "3", "--threads", "5"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_TRUE(contains(outcome.out, "\"threads\":5,")) << outcome.out;
}

}  // namespace
}  // namespace r1::test
