// The verbs of the program. A verb is one file with one function add_NAME that adds it to the
// command line; apps/main.cpp lists them and turns what they throw into exit codes:
//
//   namespace r1::apps {
//   void add_score(CLI::App& program) {
//     struct Config { std::string model, data; };
//     auto config = std::make_shared<Config>();
//     Options options(program, "score", kModelVerbs, "log-probabilities of given tokens");
//     options.add("model", &config->model, "M", "the model").required();
//     options.run([config] { ... });
//   }
//   }
//
// Results go to stdout (std::fwrite or fmt::print; the end of the program checks that all of it was
// written), progress, notes and warnings to stderr (apps/terminal.h). A verb returns for exit code
// 0 and throws otherwise.
#pragma once

#include "tensor/error.h"

namespace CLI {
class App;
}

namespace r1::apps {

// Wrong usage: exit code 2, one line that names the verb's --help. Any other r1::Error: exit
// code 1, one line.
class UsageError : public Error {
 public:
  using Error::Error;
};

// Stopped by a signal after everything worth keeping was saved: exit code 128 + signal (130, 143).
// The text is a note for the user, such as the command that goes on; it may be empty.
class Interrupted : public Error {
 public:
  Interrupted(int signal, const std::string& note) : Error(note), signal_(signal) {}
  int signal() const { return signal_; }

 private:
  int signal_;
};

// Headings of `r1 --help`.
inline constexpr const char* kModelVerbs = "Models";
inline constexpr const char* kTrainingVerbs = "Training";
inline constexpr const char* kProgramVerbs = "Program";

void add_env(CLI::App& program);
void add_inspect(CLI::App& program);
void add_tok(CLI::App& program);
void add_score(CLI::App& program);
void add_grad(CLI::App& program);
void add_generate(CLI::App& program);
void add_pretrain(CLI::App& program);
void add_sft(CLI::App& program);

}  // namespace r1::apps
