// Options: one word for flag, environment variable and recipe key; what wins; what is refused.
#include "apps/options.h"

#include <gtest/gtest.h>

#include <CLI/CLI.hpp>

#include "tests/apps/program.h"

namespace r1::apps {
namespace {

using test::TemporaryFolder;
using test::write_all;

struct Config {
  std::int64_t steps = 10;
  std::uint64_t seed = 1;
  double lr = 1e-3, beta = 0.9;
  bool shuffle = true, fast = false, resume = false;
  std::string schedule = "constant", out, text, data;
  std::vector<std::string> names;
  std::vector<double> rates;
  DType dtype = DType::f32;
};

// A verb with every kind of key.
struct Verb {
  Config c;
  CLI::App program{"", "r1"};
  Options options{program, "verb", "Verbs", "does something"};
  bool ran = false;

  Verb() {
    options.add("out", &c.out, "RUN", "where to");
    options.add("data", &c.data, "", "lines");
    options.add("text", &c.text, "", "words");
    options.add("names", &c.names, "", "words");
    options.add("train.steps", &c.steps, "", "steps").at_least(1);
    options.add("data.shuffle", &c.shuffle, "", "");
    options.add("optim.lr", &c.lr, "", "").above(0);
    options.add("optim.beta1", &c.beta, "", "").range(0, 1).below(1);
    options.add("optim.schedule", &c.schedule, "", "").choices({"constant", "linear", "cosine"});
    options.add("optim.rates", &c.rates, "", "").at_least(0);
    options.flag("fast", &c.fast, "");
    options.flag("resume", &c.resume, "").command_line_only();
    add_seed(options, &c.seed);
    add_threads(options);
    add_dtype(options, &c.dtype);
    add_config(options);
    options.run([this] { ran = true; });
  }

  void parse(std::vector<std::string> words) {
    words.insert(words.begin(), "verb");
    std::reverse(words.begin(), words.end());
    program.parse(words);
    EXPECT_TRUE(ran);
  }
  // The message of the UsageError.
  std::string refused(const std::vector<std::string>& words) {
    try {
      parse(words);
    } catch (const UsageError& e) {
      return e.what();
    }
    return "accepted";
  }
};

class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) { setenv(name, value, 1); }
  ~Variable() { unsetenv(name_); }

 private:
  const char* name_;
};

TEST(Options, FlagsOfEveryType) {
  Verb v;
  v.parse({"--train.steps",
           "40",
           "--optim.lr=2.5e-4",
           "--data.shuffle",
           "false",
           "--fast",
           "--names",
           "a,b",
           "--names",
           "c",
           "--optim.rates",
           "1,0.5",
           "--seed",
           "9223372036854775807",
           "--optim.schedule",
           "cosine",
           "--dtype",
           "f64",
           "--text",
           "--not-a-flag",
           "--out",
           "[a]"});
  EXPECT_EQ(v.c.steps, 40);
  EXPECT_EQ(v.c.lr, 2.5e-4);
  EXPECT_FALSE(v.c.shuffle);
  EXPECT_TRUE(v.c.fast);
  EXPECT_EQ(v.c.names, (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(v.c.rates, (std::vector<double>{1, 0.5}));
  EXPECT_EQ(v.c.seed, 9223372036854775807u);
  EXPECT_EQ(v.c.schedule, "cosine");
  EXPECT_EQ(v.c.dtype, DType::f64);
  EXPECT_EQ(v.c.text, "--not-a-flag");
  EXPECT_EQ(v.c.out, "[a]");
  EXPECT_EQ(v.options.origin("train.steps"), "flag");
  EXPECT_EQ(v.options.origin("optim.beta1"), "default");
  EXPECT_FALSE(v.options.is_set("optim.beta1"));
}

TEST(Options, ARecipeSetsTheSameKeys) {
  const TemporaryFolder folder;
  const std::string path = folder.file("r.toml");
  write_all(path,
            "out = 'runs/a'\nnames = ['x', 'y,z']\nfast = true\nseed = 3\ndtype = 'f64'\n"
            "train.steps = 7\n[optim]\nlr = 1\nrates = [1, 0.25]\nschedule = 'linear'\n"
            "[data]\nshuffle = false\n");
  Verb v;
  v.parse({"--config", path});
  EXPECT_EQ(v.c.out, "runs/a");
  EXPECT_EQ(v.c.names, (std::vector<std::string>{"x", "y,z"}));
  EXPECT_TRUE(v.c.fast);
  EXPECT_EQ(v.c.seed, 3u);
  EXPECT_EQ(v.c.steps, 7);
  EXPECT_EQ(v.c.lr, 1.0);
  EXPECT_EQ(v.c.rates, (std::vector<double>{1, 0.25}));
  EXPECT_EQ(v.c.schedule, "linear");
  EXPECT_FALSE(v.c.shuffle);
  EXPECT_EQ(v.c.dtype, DType::f64);
  EXPECT_EQ(v.options.origin("optim.lr"), path + ":8");
}

TEST(Options, FlagBeforeEnvironmentBeforeRecipeBeforeDefault) {
  const TemporaryFolder folder;
  const std::string path = folder.file("r.toml");
  write_all(path, "[optim]\nlr = 3.0\nbeta1 = 0.3\n[train]\nsteps = 3\n");
  const Variable lr("R1_OPTIM_LR", "2"), steps("R1_TRAIN_STEPS", "2"), empty("R1_OUT", "");
  Verb v;
  v.parse({"--config", path, "--optim.lr", "1"});
  EXPECT_EQ(v.c.lr, 1.0);
  EXPECT_EQ(v.c.steps, 2);
  EXPECT_EQ(v.c.beta, 0.3);
  EXPECT_EQ(v.c.schedule, "constant");
  EXPECT_EQ(v.options.origin("optim.lr"), "flag");
  EXPECT_EQ(v.options.origin("train.steps"), "environment R1_TRAIN_STEPS");
  EXPECT_EQ(v.options.origin("optim.beta1"), path + ":3");
  EXPECT_EQ(v.options.origin("out"), "default");
}

TEST(Options, ARecordedRunReadsBack) {
  const TemporaryFolder folder;
  const std::string path = folder.file("config.toml");
  Verb v;
  v.parse({"--out", "a \"b\"\\\n\tc \x01 \xC3\xA9", "--optim.lr", "1e-05", "--names", "p,q",
           "--train.steps", "12", "--data", "d", "--data.shuffle", "false", "--optim.rates",
           "1,1e300", "--dtype", "f64", "--resume"});
  const std::string toml = v.options.to_toml();
  EXPECT_NE(toml.find("# flag"), std::string::npos);
  EXPECT_NE(toml.find("# default"), std::string::npos);
  EXPECT_NE(toml.find("# threads = all cores"), std::string::npos) << toml;
  EXPECT_EQ(toml.find("resume"), std::string::npos);
  EXPECT_EQ(toml.find("config"), std::string::npos);
  write_all(path, toml);
  Verb w;
  w.parse({"--config", path});
  EXPECT_EQ(w.c.out, v.c.out);
  EXPECT_EQ(w.c.data, "d");
  EXPECT_FALSE(w.c.shuffle);
  EXPECT_EQ(w.c.lr, v.c.lr);
  EXPECT_EQ(w.c.names, v.c.names);
  EXPECT_EQ(w.c.steps, v.c.steps);
  EXPECT_EQ(w.c.rates, v.c.rates);
  EXPECT_EQ(w.c.dtype, DType::f64);
  // The same text but for the origins.
  const auto values = [](const std::string& text) {
    std::string out;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);)
      out += line.substr(0, line.rfind('#')) + "\n";
    return out;
  };
  EXPECT_EQ(values(w.options.to_toml()), values(toml));
}

TEST(Options, WrongRecipesNameFileLineAndKey) {
  const TemporaryFolder folder;
  const std::string path = folder.file("r.toml");
  struct Case {
    const char* recipe;
    std::string message;
  };
  const Case cases[] = {
      {"[optim]\nlrr = 1\n", ":2: unknown key 'optim.lrr', did you mean 'optim.lr'?"},
      {"lr = 1\n", ":1: unknown key 'lr', did you mean 'optim.lr'?"},
      {"xyzzy = 1\n", ":1: unknown key 'xyzzy'"},
      {"resume = true\n", ":1: only the command line can set 'resume'"},
      {"config = 'x'\n", ":1: only the command line can set 'config'"},
      {"\n[optim]\nlr = 'fast'\n", ":3: optim.lr: expected number, got string"},
      {"[train]\nsteps = 1.5\n", ":2: train.steps: expected integer, got number"},
      {"[train]\nsteps = 0\n", "--train.steps: 0 is out of range, it must be at least 1 (" + path},
      {"[data]\nshuffle = 1\n", ":2: data.shuffle: expected true or false, got integer"},
      {"seed = -1\n", ":1: seed: expected integer from 0 to 2^63 - 1, got integer"},
      {"names = 'a'\n", ":1: names: expected list of strings, got string"},
      {"names = [1]\n", ":1: names: expected list of strings, got array"},
      {"[optim]\nlr = nan\n", ":2: optim.lr: expected number, got number"},
      {"[optim]\nschedule = 'cosin'\n", "unknown value 'cosin', did you mean 'cosine'?"},
      {"[optim]\nlr = 1\nlr = 2\n", ":3: "},
      {"[optim\nlr = 1\n", ":1: "},
      {"data = 'd'\n[data]\nshuffle = true\n", ":2: "},
      {"data = 'd'\ndata.shuffle = true\n", "write \"data.shuffle\" = true"},
      {"out = 'a", ":1: "},
      {"text = \"\\xff\"", ":1: "},
      {"\x80 = 1", ": "},
  };
  for (const Case& c : cases) {
    write_all(path, c.recipe);
    Verb v;
    const std::string message = v.refused({"--config", path});
    EXPECT_NE(message.find(c.message), std::string::npos) << message << " for " << c.recipe;
    EXPECT_NE(message.find(path), std::string::npos) << message;
    EXPECT_FALSE(v.ran);
  }
}

TEST(Options, WrongFlagsNameTheKey) {
  struct Case {
    std::vector<std::string> words;
    const char* message;
  };
  const Case cases[] = {
      {{"--train.steps", "1e3"}, "--train.steps: expected integer, got '1e3'"},
      {{"--train.steps", "99999999999999999999"}, "--train.steps: expected integer"},
      {{"--train.steps", "-3"}, "--train.steps: -3 is out of range, it must be at least 1"},
      {{"--seed", "-1"}, "--seed: expected integer from 0 to 2^63 - 1, got '-1'"},
      {{"--seed", "9223372036854775808"}, "--seed: expected integer from 0 to 2^63 - 1"},
      {{"--optim.lr", "0"}, "--optim.lr: 0 is out of range, it must be above 0"},
      {{"--optim.lr", "nan"}, "--optim.lr: expected number, got 'nan'"},
      {{"--optim.lr", "1e999"}, "--optim.lr: expected number"},
      {{"--optim.lr", "1x"}, "--optim.lr: expected number, got '1x'"},
      {{"--optim.beta1", "1"}, "it must be at least 0 and below 1"},
      {{"--optim.rates", "1,-1"}, "--optim.rates: -1 is out of range"},
      {{"--optim.rates", "1,,2"}, "--optim.rates: expected list of numbers, got '1,,2'"},
      {{"--data.shuffle", "yes"}, "--data.shuffle: expected true or false, got 'yes'"},
      {{"--dtype", "f16"}, "--dtype: unknown value 'f16', it must be one of f32, f64"},
      {{"--shuffle", "true"}, "unknown option --shuffle, did you mean --data.shuffle?"},
      {{"stray"}, "unexpected argument 'stray'"},
  };
  for (const Case& c : cases) {
    Verb v;
    const std::string message = v.refused(c.words);
    EXPECT_NE(message.find(c.message), std::string::npos) << message;
  }
}

TEST(Options, AMissingRecipeIsAFailureNotWrongUsage) {
  Verb v;
  try {
    v.parse({"--config", "/no/such/recipe.toml"});
    FAIL();
  } catch (const UsageError&) {
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("/no/such/recipe.toml"), std::string::npos);
  }
}

TEST(Options, RequiredKeysMayComeFromTheRecipe) {
  const TemporaryFolder folder;
  write_all(folder.file("r.toml"), "model = 'm'\n");
  for (const bool with_recipe : {false, true}) {
    CLI::App program("", "r1");
    Options options(program, "verb", "Verbs", "");
    std::string model;
    add_model(options, &model);
    add_config(options);
    options.run([] {});
    std::vector<std::string> words = {"verb"};
    if (with_recipe) words = {folder.file("r.toml"), "--config", "verb"};
    if (with_recipe) {
      program.parse(words);
      EXPECT_EQ(model, "m");
    } else {
      EXPECT_THROW(program.parse(words), UsageError);
    }
  }
}

TEST(Options, TheNearestWord) {
  const std::vector<std::string> words = {"--optim.lr", "--optim.lr_list", "--seed", "--out"};
  EXPECT_EQ(nearest("--optim.lrr", words), "--optim.lr");
  EXPECT_EQ(nearest("--otpim.lr", words), "--optim.lr");
  EXPECT_EQ(nearest("--lr", words), "--optim.lr");
  EXPECT_EQ(nearest("--sede", words), "--seed");
  EXPECT_EQ(nearest("--something-else", words), "");
  EXPECT_EQ(nearest(std::string(100000, 'x'), words), "");
}

}  // namespace
}  // namespace r1::apps
