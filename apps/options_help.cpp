// `r1 --help`, `r1 VERB --help`, and the search for a word that was meant.
#include <algorithm>

#include "apps/options_state.h"
#include "apps/terminal.h"

namespace r1::apps {
namespace {

std::size_t help_width() {
  const int columns = stdout_is_terminal() ? terminal_width() : 100;
  return static_cast<std::size_t>(std::clamp(columns, 50, 100));
}

// Columns of a UTF-8 text, one for each character.
std::size_t columns_of(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

// `left` in a column of its own, `right` beside it, wrapped between words.
std::string row(const std::string& left, const std::string& right, std::size_t column) {
  std::string out = "  " + left;
  std::size_t at = columns_of(out);
  const auto indent = [&] {
    if (at + 2 > column) out += '\n', at = 0;
    out.append(column - at, ' ');
    at = column;
  };
  indent();
  std::size_t begin = 0;
  while (begin < right.size()) {
    const std::size_t end = std::min(right.find(' ', begin), right.size());
    const std::string word = right.substr(begin, end - begin);
    const std::size_t n = columns_of(word);
    if (at > column && at + 1 + n > help_width()) {
      out += '\n', at = 0;
      indent();
    }
    if (at > column) out += ' ', ++at;
    out += word;
    at += n;
    begin = end + 1;
  }
  return out + "\n";
}

struct Section {
  std::string heading;
  std::vector<std::pair<std::string, std::string>> rows;
};

Section& section(std::vector<Section>& all, const std::string& heading) {
  for (Section& s : all)
    if (s.heading == heading) return s;
  return all.emplace_back(Section{heading, {}});
}

std::string render(const std::vector<Section>& sections) {
  std::size_t widest = 0;
  for (const Section& s : sections)
    for (const auto& [left, right] : s.rows) widest = std::max(widest, columns_of(left));
  const std::size_t column = std::min<std::size_t>(widest + 4, 36);
  std::string out;
  for (const Section& s : sections) {
    out += "\n" + s.heading + ":\n";
    for (const auto& [left, right] : s.rows) out += row(left, right, column);
  }
  return out;
}

// "optim.lr" belongs under "Optimizer".
std::string heading_of(const Key::State& key) {
  if (!key.group.empty()) return key.group;
  if (key.positional) return "Arguments";
  const std::size_t dot = key.name.rfind('.');
  if (dot == std::string::npos) return "Options";
  const std::string table = key.name.substr(0, dot);
  if (table == "optim") return "Optimizer";
  if (table == "train") return "Training";
  if (table == "checkpoint") return "Checkpoints";
  std::string heading = table;
  heading[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(heading[0])));
  return heading;
}

std::string metavar_of(const Key::State& key) {
  if (key.flag) return "";
  if (!key.metavar.empty()) return key.metavar;
  struct Word {
    const char* operator()(const std::int64_t*) const { return "N"; }
    const char* operator()(const std::uint64_t*) const { return "N"; }
    const char* operator()(const double*) const { return "X"; }
    const char* operator()(const bool*) const { return "true|false"; }
    const char* operator()(const std::string*) const { return "TEXT"; }
    const char* operator()(const std::vector<std::string>*) const { return "A,B,..."; }
    const char* operator()(const std::vector<double>*) const { return "X,Y,..."; }
  };
  return std::visit(Word{}, key.target);
}

std::string key_help(const Key::State& key) {
  std::string text = key.help;
  if (key.required) return text + " (required)";
  const std::string value = key.default_text.empty() ? key.value_text() : key.default_text;
  if (!key.flag && !value.empty()) text += " [" + value + "]";
  return text;
}

// "r1 tok encode"
std::string full_name(const CLI::App& app) {
  const CLI::App* parent = app.get_parent();
  return parent == nullptr ? app.get_name() : full_name(*parent) + " " + app.get_name();
}

std::string options_help(const CLI::App& app, const Options::State& options) {
  std::string usage = "Usage: " + full_name(app);
  std::vector<Section> sections;
  section(sections, "Arguments");
  section(sections, "Options");
  for (const Key::State& k : options.keys) {
    const std::string metavar = metavar_of(k);
    const std::string left =
        k.positional ? k.name : "--" + k.name + (metavar.empty() ? "" : " " + metavar);
    if (k.required) usage += " " + left;
    section(sections, heading_of(k)).rows.emplace_back(left, key_help(k));
  }
  section(sections, "Options").rows.emplace_back("--help", "this text");
  std::erase_if(sections, [](const Section& s) { return s.rows.empty(); });
  std::string epilog = options.epilog.empty() ? "" : "\n" + options.epilog;
  if (!epilog.empty() && epilog.back() != '\n') epilog += '\n';
  return fmt::format("{}: {}\n\n{} [OPTIONS]\n{}{}", full_name(app), app.get_description(), usage,
                     render(sections), epilog);
}

std::string family_help(const CLI::App& app) {
  std::vector<Section> sections;
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; }))
    section(sections, verb->get_group().empty() ? "Verbs" : verb->get_group())
        .rows.emplace_back(verb->get_name(), verb->get_description());
  const std::string name = full_name(app);
  std::string out = fmt::format("{}: {}\n\nUsage: {} VERB [OPTIONS]\n{}", name,
                                app.get_description(), name, render(sections));
  out += fmt::format("\n'{} VERB --help' explains a verb{}.\n", name,
                     app.get_parent() == nullptr ? ", 'r1 --version' names this build" : "");
  return out;
}

}  // namespace

std::string help_text(const CLI::App& app, const Options::State* options) {
  return options != nullptr ? options_help(app, *options) : family_help(app);
}

std::string Key::State::value_text() const {
  struct Text {
    std::string operator()(const std::string* x) const { return *x; }
    std::string operator()(const bool* x) const { return *x ? "true" : "false"; }
    std::string operator()(const std::vector<std::string>* x) const {
      return fmt::format("{}", fmt::join(*x, ","));
    }
    std::string operator()(const std::vector<double>* x) const {
      return fmt::format("{}", fmt::join(*x, ","));
    }
    std::string operator()(const std::int64_t* x) const { return fmt::format("{}", *x); }
    std::string operator()(const std::uint64_t* x) const { return fmt::format("{}", *x); }
    std::string operator()(const double* x) const { return fmt::format("{}", *x); }
  };
  return std::visit(Text{}, target);
}

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
  // Levenshtein's distance with swaps of neighbours (optimal string alignment).
  const auto distance = [](std::string_view a, std::string_view b) {
    std::vector<std::size_t> before, last, row_now(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) row_now[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
      before = std::move(last);
      last = row_now;
      row_now[0] = i;
      for (std::size_t j = 1; j <= b.size(); ++j) {
        const std::size_t substitute = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
        row_now[j] = std::min({last[j] + 1, row_now[j - 1] + 1, substitute});
        if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
          row_now[j] = std::min(row_now[j], before[j - 2] + 1);
      }
    }
    return row_now[b.size()];
  };
  if (word.size() > 64) return "";
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(1, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    std::size_t d = distance(word, candidate);
    // "--lr" for "--optim.lr": the last part alone may be meant.
    const std::size_t dot = candidate.rfind('.');
    if (dot != std::string::npos) {
      const std::string_view bare = word.substr(std::min(word.size(), word.find_first_not_of('-')));
      d = std::min(d, 1 + distance(bare, std::string_view(candidate).substr(dot + 1)));
    }
    if (d < best_distance) best_distance = d, best = candidate;
  }
  return best;
}

}  // namespace r1::apps
