#include "apps/options.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "apps/options_state.h"
#include "apps/terminal.h"
#include "data/json.h"
#include "tensor/parallel.h"

namespace r1::apps {
namespace {

template <class... Args>
[[noreturn]] void usage(fmt::format_string<Args...> format, Args&&... args) {
  throw UsageError(fmt::format(format, std::forward<Args>(args)...));
}

template <class T>
bool parse_number(const std::string& text, T& value) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && stop == end && !text.empty();
}

bool parse(const std::string& text, std::int64_t& value) { return parse_number(text, value); }
bool parse(const std::string& text, std::uint64_t& value) {
  // TOML's integers end at 2^63 - 1, and a recorded run must be readable.
  return parse_number(text, value) && value <= std::numeric_limits<std::int64_t>::max();
}
bool parse(const std::string& text, double& value) {
  return parse_number(text, value) && std::isfinite(value);
}
bool parse(const std::string& text, bool& value) {
  value = text == "true";
  return value || text == "false";
}
bool parse(const std::string& text, std::string& value) {
  value = text;
  return true;
}
template <class T>
bool parse(const std::string& text, std::vector<T>& list) {
  list.clear();
  for (std::size_t begin = 0; begin <= text.size() && !text.empty();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    if (!parse(text.substr(begin, end - begin), list.emplace_back())) return false;
    begin = end + 1;
  }
  return true;
}

std::string environment_name(const std::string& key) {
  std::string name = "R1_";
  for (char c : key) {
    const bool lower = c >= 'a' && c <= 'z';
    name += c == '.' || c == '-' ? '_' : lower ? static_cast<char>(c - 'a' + 'A') : c;
  }
  return name;
}

}  // namespace

// One key.

Key& Key::required() {
  state_->required = true;
  return *this;
}
Key& Key::range(double min, double max) {
  state_->min = min;
  state_->max = max;
  return *this;
}
Key& Key::above(double min) {
  state_->min = min;
  state_->min_excluded = true;
  return *this;
}
Key& Key::below(double limit) {
  state_->max = limit;
  state_->max_excluded = true;
  return *this;
}
Key& Key::choices(std::vector<std::string> values) {
  if (state_->metavar.empty()) state_->metavar = fmt::format("{}", fmt::join(values, "|"));
  state_->choices = std::move(values);
  return *this;
}
Key& Key::group(std::string heading) {
  state_->group = std::move(heading);
  return *this;
}
Key& Key::default_text(std::string text) {
  state_->default_text = std::move(text);
  return *this;
}
Key& Key::command_line_only() {
  state_->command_line_only = true;
  return *this;
}

std::string Key::State::expected() const {
  struct Name {
    std::string operator()(const std::int64_t*) const { return "integer"; }
    std::string operator()(const std::uint64_t*) const { return "integer from 0 to 2^63 - 1"; }
    std::string operator()(const double*) const { return "number"; }
    std::string operator()(const bool*) const { return "true or false"; }
    std::string operator()(const std::string*) const { return "string"; }
    std::string operator()(const std::vector<std::string>*) const { return "list of strings"; }
    std::string operator()(const std::vector<double>*) const { return "list of numbers"; }
  };
  return std::visit(Name{}, target);
}

void Key::State::set(const std::string& text, const std::string& source) {
  const bool good = std::visit([&](auto* value) { return parse(text, *value); }, target);
  if (!good) usage("{}: expected {}, got '{}'", source, expected(), json::printable(text));
}

void Key::State::check_values() const {
  auto check = [&](double x) {
    const bool low = min_excluded ? !(x > min) : !(x >= min);
    const bool high = max_excluded ? !(x < max) : !(x <= max);
    if (!low && !high) return;
    const bool has_min = std::isfinite(min), has_max = std::isfinite(max);
    const std::string lower = fmt::format("{} {}", min_excluded ? "above" : "at least", min);
    const std::string upper = fmt::format("{} {}", max_excluded ? "below" : "at most", max);
    usage("{}: {} is out of range, it must be {}{}{}{}", spelling(), x, has_min ? lower : "",
          has_min && has_max ? " and " : "", has_max ? upper : "", origin_note());
  };
  struct Each {
    decltype(check)& f;
    const Key::State& key;
    void operator()(const std::int64_t* x) const { f(static_cast<double>(*x)); }
    void operator()(const std::uint64_t* x) const { f(static_cast<double>(*x)); }
    void operator()(const double* x) const { f(*x); }
    void operator()(const bool*) const {}
    void operator()(const std::string* x) const { word(*x); }
    void operator()(const std::vector<std::string>* list) const {
      for (const std::string& x : *list) word(x);
    }
    void operator()(const std::vector<double>* list) const {
      for (double x : *list) f(x);
    }
    void word(const std::string& x) const {
      const auto& all = key.choices;
      if (all.empty() || std::find(all.begin(), all.end(), x) != all.end()) return;
      const std::string near = nearest(x, all);
      usage("{}: unknown value '{}', {}it must be one of {}{}", key.spelling(), json::printable(x),
            near.empty() ? "" : "did you mean '" + near + "'? ", fmt::join(all, ", "),
            key.origin_note());
    }
  };
  if (is_set()) std::visit(Each{check, *this}, target);
}

// A verb.

Key Options::State::add(Key::State key, const std::string& flags) {
  keys.push_back(std::move(key));
  Key::State& k = keys.back();
  if (k.flag) {
    k.option = app->add_flag(flags, k.help);
  } else {
    // The words are read by resolve(); CLI11 only splits the command line.
    k.option = app->add_option(
        flags, [](const CLI::results_t&) { return true; }, k.help);
    k.option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  }
  return Key(&k);
}

Options::Options(CLI::App& parent, const std::string& name, const std::string& heading,
                 const std::string& summary)
    : state_(std::make_shared<State>()) {
  CLI::App* app = parent.add_subcommand(name, summary);
  state_->app = app;
  app->group(heading)->allow_extras();
  app->set_help_flag("-h,--help", "this text");
  std::weak_ptr<State> weak = state_;
  app->formatter_fn([weak](const CLI::App* a, std::string, CLI::AppFormatMode) {
    return help_text(*a, weak.lock().get());
  });
}

Key Options::add(const std::string& name, Target value, const std::string& metavar,
                 const std::string& help) {
  Key::State key;
  key.name = name;
  key.target = value;
  key.metavar = metavar;
  key.help = help;
  return state_->add(std::move(key), "--" + name);
}

Key Options::flag(const std::string& name, bool* value, const std::string& help) {
  Key::State key;
  key.name = name;
  key.target = value;
  key.help = help;
  key.flag = true;
  return state_->add(std::move(key), "--" + name);
}

Key Options::positional(const std::string& name, std::string* value, const std::string& help) {
  Key::State key;
  key.name = name;
  key.target = value;
  key.help = help;
  key.positional = key.command_line_only = true;
  return state_->add(std::move(key), name);
}

void Options::epilog(const std::string& text) { state_->epilog = text; }
void Options::then(std::function<void()> check) { state_->checks.push_back(std::move(check)); }
void Options::run(std::function<void()> body) {
  state_->app->callback([state = state_, body = std::move(body)] {
    state->resolve();
    body();
  });
}

Key::State* Options::State::find(std::string_view name) {
  for (Key::State& k : keys)
    if (k.name == name) return &k;
  return nullptr;
}

std::string Options::origin(std::string_view name) const {
  const Key::State* k = state_->find(name);
  R1_CHECK(k != nullptr, "options: no key '{}'", name);
  return k->origin;
}
bool Options::is_set(std::string_view name) const { return origin(name) != "default"; }

void Options::State::refuse_extras() const {
  for (std::string word : app->remaining()) {
    if (word.size() < 2 || word[0] != '-') {
      usage("unexpected argument '{}'", json::printable(word));
    }
    word = word.substr(0, word.find('='));
    std::vector<std::string> known = {"--help"};
    for (const Key::State& k : keys)
      if (!k.positional) known.push_back("--" + k.name);
    const std::string near = nearest(word, known);
    usage("unknown option {}{}", json::printable(word),
          near.empty() ? "" : ", did you mean " + near + "?");
  }
}

void Options::State::read_command_line() {
  for (Key::State& k : keys) {
    if (k.option->count() == 0) continue;
    const std::vector<std::string>& words = k.option->results();
    const bool list = std::holds_alternative<std::vector<std::string>*>(k.target) ||
                      std::holds_alternative<std::vector<double>*>(k.target);
    k.set(list ? fmt::format("{}", fmt::join(words, ",")) : words.back(), k.spelling());
    k.origin = "flag";
  }
}

void Options::State::read_environment() {
  for (Key::State& k : keys) {
    if (k.is_set() || k.command_line_only) continue;
    const std::string name = environment_name(k.name);
    const char* text = std::getenv(name.c_str());
    if (text == nullptr || *text == '\0') continue;
    k.set(text, name);
    k.origin = "environment " + name;
  }
}

void Options::State::resolve() {
  refuse_extras();
  read_command_line();
  read_environment();
  if (!config.empty()) read_toml(config);
  for (const Key::State& k : keys) {
    if (k.required && !k.is_set()) {
      usage("missing {}{}{}", k.spelling(), k.metavar.empty() ? "" : " " + k.metavar,
            k.help.empty() ? "" : ": " + k.help);
    }
    k.check_values();
  }
  for (const auto& check : checks) check();
}

CLI::App& add_family(CLI::App& program, const std::string& name, const std::string& heading,
                     const std::string& summary) {
  CLI::App* family = program.add_subcommand(name, summary);
  family->group(heading)->allow_extras()->require_subcommand(0, 1);
  family->set_help_flag("-h,--help", "this text");
  family->formatter_fn(
      [](const CLI::App* a, std::string, CLI::AppFormatMode) { return help_text(*a, nullptr); });
  return *family;
}

// Shared options.

Key add_model(Options& options, std::string* model) {
  return options.add("model", model, "M", "Hugging Face folder, .gguf file or run folder")
      .required();
}
Key add_data(Options& options, std::string* data, const std::string& help) {
  return options.add("data", data, "F.jsonl", help);
}
Key add_out(Options& options, std::string* out, const std::string& metavar,
            const std::string& help) {
  return options.add("out", out, metavar, help);
}
void add_threads(Options& options) {
  auto threads = std::make_shared<std::int64_t>(0);
  options
      .add("threads", threads.get(), "N",
           "threads to compute with, may be more than the processor has cores")
      .range(1, 1024)
      .default_text("all cores");
  options.then([threads] {
    if (*threads > 0) set_thread_count(static_cast<int>(*threads));
  });
}
Key add_seed(Options& options, std::uint64_t* seed) {
  return options.add("seed", seed, "S", "seed of everything random");
}
Key add_json(Options& options, bool* json) {
  return options.flag("json", json, "JSON on stdout, and nothing else").command_line_only();
}
Key add_dtype(Options& options, DType* dtype) {
  auto name = std::make_shared<std::string>(name_of(*dtype));
  options.then([name, dtype] { *dtype = *name == "f64" ? DType::f64 : DType::f32; });
  return options.add("dtype", name.get(), "", "precision of the computation")
      .choices({"f32", "f64"});
}
void add_config(Options& options) {
  options.add("config", &options.state_->config, "F.toml", "recipe with values for these keys")
      .command_line_only();
}

}  // namespace r1::apps
