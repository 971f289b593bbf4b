// Options of a verb. A key is one word for the flag (--optim.lr), the environment variable
// (R1_OPTIM_LR), the TOML recipe ([optim] lr = 1e-3) and the file that records a run. The first of
// these that sets it wins: flag, environment, recipe, default. Everything wrong is a UsageError
// that names the key, where it was set, and the nearest known key.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "apps/command.h"
#include "tensor/dtype.h"

namespace r1::apps {

// What a key is bound to; the variable's value at the time of add() is the default. It must live
// until the verb has run (capture a shared_ptr in run()).
using Target = std::variant<std::int64_t*, std::uint64_t*, double*, bool*, std::string*,
                            std::vector<std::string>*, std::vector<double>*>;

// One key, as add() returns it for further settings:
//   options.add("train.steps", &c->steps, "N", "optimizer steps").required().at_least(1);
class Key {
 public:
  struct State;

  Key& required();
  Key& range(double min, double max);  // both included; each element of a list
  Key& at_least(double min) { return range(min, std::numeric_limits<double>::infinity()); }
  Key& above(double min);    // min excluded
  Key& below(double limit);  // limit excluded
  Key& choices(std::vector<std::string> values);
  Key& group(std::string heading);      // of the help; default: the part before the last dot
  Key& default_text(std::string text);  // shown by the help instead of the value
  Key& command_line_only();  // no environment, no recipe, not recorded (--resume, --json)

 private:
  friend class Options;
  explicit Key(State* state) : state_(state) {}
  State* state_;
};

// A handle: copies are the same options.
class Options {
 public:
  // Adds the verb `name` to the program (or, for `r1 tok encode`, to a family).
  Options(CLI::App& parent, const std::string& name, const std::string& heading,
          const std::string& summary);

  // --name VALUE. `metavar` is the word for the value in the help ("N", "F.jsonl"); "" takes one
  // from the type. A bool takes true or false; a list is comma-separated, or the flag repeated.
  Key add(const std::string& name, Target value, const std::string& metavar,
          const std::string& help);
  // --name without a value; `name = true` in a recipe.
  Key flag(const std::string& name, bool* value, const std::string& help);
  // An argument without a flag ("M"); command line only.
  Key positional(const std::string& name, std::string* value, const std::string& help);
  // Text below the list of options in `r1 VERB --help`, such as examples.
  void epilog(const std::string& text);

  // Called when the values are in place, before the body: conversions and checks between keys.
  void then(std::function<void()> check);
  // What the verb does.
  void run(std::function<void()> body);

  // "default", "flag", "environment R1_OPTIM_LR" or "FILE:LINE".
  std::string origin(std::string_view name) const;
  bool is_set(std::string_view name) const;  // by anything but the default

  // The resolved values as a recipe that gives them again, each with its origin as a comment.
  std::string to_toml() const;

  struct State;

 private:
  friend void add_config(Options& options);
  std::shared_ptr<State> state_;
};

// A verb that only holds others (`r1 tok`), to be given to Options as parent.
CLI::App& add_family(CLI::App& program, const std::string& name, const std::string& heading,
                     const std::string& summary);

// Options that several verbs share, with the same words everywhere.
Key add_model(Options& options, std::string* model);                         // --model M, required
Key add_data(Options& options, std::string* data, const std::string& help);  // --data F.jsonl
Key add_out(Options& options, std::string* out, const std::string& metavar,
            const std::string& help);                 // --out
void add_threads(Options& options);                   // --threads: calls set_thread_count
Key add_seed(Options& options, std::uint64_t* seed);  // --seed
Key add_json(Options& options, bool* json);           // --json
Key add_dtype(Options& options, DType* dtype);        // --dtype f32|f64
void add_config(Options& options);                    // --config F.toml

// The candidate with the smallest edit distance, or "" when none is near.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace r1::apps
