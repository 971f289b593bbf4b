// What Options keeps, for the three files that implement it.
#pragma once

#include <CLI/App.hpp>
#include <deque>

#include "apps/options.h"

namespace r1::apps {

struct Key::State {
  std::string name, metavar, help, group, default_text;
  Target target;
  CLI::Option* option = nullptr;
  std::string origin = "default";
  std::vector<std::string> choices;
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  bool min_excluded = false, max_excluded = false;
  bool required = false, flag = false, positional = false, command_line_only = false;

  // "--optim.lr", or "M" for a positional argument: how messages name the key.
  std::string spelling() const { return positional ? name : "--" + name; }
  bool is_set() const { return origin != "default"; }
  // " (recipe.toml:3)": where a value that is not a flag's comes from.
  std::string origin_note() const { return origin == "flag" ? "" : " (" + origin + ")"; }
  // The values' type in words: "a number".
  std::string expected() const;
  // Sets the target from a word of the command line or the environment.
  void set(const std::string& text, const std::string& source);
  void check_values() const;       // range and choices
  std::string value_text() const;  // as in the help; "" for empty
  std::string toml_value() const;
};

struct Options::State {
  CLI::App* app = nullptr;
  std::deque<Key::State> keys;
  std::vector<std::function<void()>> checks;
  std::string config;  // --config, when the verb has it
  std::string epilog;

  Key add(Key::State key, const std::string& flags);
  Key::State* find(std::string_view name);
  std::vector<std::string> recipe_keys() const;
  void refuse_extras() const;
  void resolve();
  void read_command_line();
  void read_environment();
  void read_toml(const std::string& path);
};

// The help of a verb, a family or the program.
std::string help_text(const CLI::App& app, const Options::State* options);

}  // namespace r1::apps
