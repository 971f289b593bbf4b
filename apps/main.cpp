// The program r1: its verbs, and what becomes of their errors.
#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <new>
#include <system_error>

#include "apps/command.h"
#include "apps/options.h"
#include "apps/options_state.h"
#include "apps/terminal.h"
#include "apps/version.h"
#include "tensor/cpu/isa/isa.h"

namespace r1::apps {
namespace {

void add_verbs(CLI::App& program) {
  add_inspect(program);
  add_score(program);
  add_grad(program);
  add_generate(program);
  add_pretrain(program);
  add_sft(program);
  add_tok(program);
  add_env(program);
}

// A file opened by a verb must never become descriptor 0, 1 or 2.
void open_standard_files() {
  for (int fd = 0; fd <= 2; ++fd) {
    // Read-only: a result that nobody can receive is an error.
    if (fcntl(fd, F_GETFD) == -1 && open("/dev/null", O_RDONLY) != fd) _exit(1);
  }
}

std::vector<std::string> arguments(int argc, char** argv) {
  std::vector<std::string> words;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    // CLI11 takes the next word for the value of "--key=".
    if (word.size() > 3 && word.rfind("--", 0) == 0 && word.find('=') == word.size() - 1) {
      words.push_back(word.substr(0, word.size() - 1));
      words.emplace_back();
    } else {
      words.push_back(word);
    }
  }
  if (!words.empty() && words[0] == "help") {
    words.erase(words.begin());
    words.push_back("--help");
  }
  return words;
}

// The verb on the command line, families included: "r1 tok encode".
const CLI::App& chosen(const CLI::App& program) {
  const CLI::App* app = &program;
  while (!app->get_subcommands().empty()) app = app->get_subcommands().front();
  return *app;
}
std::string name_of(const CLI::App& app) {
  const CLI::App* parent = app.get_parent();
  return parent == nullptr ? app.get_name() : name_of(*parent) + " " + app.get_name();
}

// No verb was run: help, or an unknown verb.
void without_verb(const CLI::App& app) {
  const std::vector<std::string> words = app.remaining();
  if (words.empty()) {
    const std::string help = help_text(app, nullptr);
    std::fwrite(help.data(), 1, help.size(), stderr);
    throw UsageError("");
  }
  std::vector<std::string> known = {"--help"};
  if (app.get_parent() == nullptr) known.insert(known.end(), {"--version", "help"});
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; }))
    known.push_back(verb->get_name());
  const std::string near = nearest(words[0], known);
  throw UsageError(fmt::format("unknown {} '{}'{}", words[0][0] == '-' ? "option" : "verb",
                               words[0], near.empty() ? "" : ", did you mean '" + near + "'?"));
}

void run(CLI::App& program, std::vector<std::string> words) {
  std::reverse(words.begin(), words.end());  // as CLI11 wants them
  try {
    program.parse(std::move(words));
  } catch (const CLI::CallForHelp&) {
    const CLI::App& app = chosen(program);
    write_out(app.help());
    return;
  } catch (const CLI::ArgumentMismatch& e) {
    const std::string text = e.what();
    throw UsageError(text.substr(0, text.find(':')) + ": needs a value");
  } catch (const CLI::ParseError& e) {
    throw UsageError(e.what());
  }
  if (program.count("--version") > 0) {
    write_line("r1 " + version_text());
    write_line(fmt::format("instruction set: {}", cpu::isa().name));
    return;
  }
  const CLI::App& app = chosen(program);
  if (app.get_parent() == nullptr ||
      !app.get_subcommands([](const CLI::App*) { return true; }).empty())
    without_verb(app);
}

int report(const CLI::App& program, const std::string& message) {
  std::string line = name_of(chosen(program)) + ": ";
  for (const char c : message) line += c == '\n' || c == '\r' ? ' ' : c;
  write_note(line);
  return 1;
}

int run_and_report(CLI::App& program, const std::vector<std::string>& words) {
  try {
    run(program, words);
    flush_out();
    return 0;
  } catch (const OutputClosed&) {
    return 0;
  } catch (const Interrupted& e) {
    if (*e.what() != '\0') report(program, e.what());
    return 128 + e.signal();
  } catch (const UsageError& e) {
    if (*e.what() != '\0')
      report(program, fmt::format("{} (try {} --help)", e.what(), name_of(chosen(program))));
    return 2;
  } catch (const std::bad_alloc&) {
    return report(program, "out of memory");
  } catch (const std::system_error& e) {
    // fmt::print to a pipe whose reader has gone.
    return e.code().value() == EPIPE ? 0 : report(program, e.what());
  } catch (const std::exception& e) {
    return report(program, e.what());
  }
}

}  // namespace
}  // namespace r1::apps

int main(int argc, char** argv) {
  using namespace r1::apps;
  open_standard_files();
  install_signal_handlers();
  CLI::App program("the DeepSeek-R1 pipeline in C++20: language models, trained and run on the CPU",
                   "r1");
  program.allow_extras()->require_subcommand(0, 1);
  program.set_help_flag("-h,--help", "this text");
  program.add_flag("--version")->description("version, commit, build and instruction set");
  program.formatter_fn([](const CLI::App* app, std::string, CLI::AppFormatMode) {
    return help_text(*app, nullptr);
  });
  add_verbs(program);
  const int code = run_and_report(program, arguments(argc, argv));
  // Nothing of what a failed verb had written is lost; a second complaint would be noise.
  std::fflush(stdout);
  return code;
}
