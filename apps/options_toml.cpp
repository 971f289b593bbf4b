// Recipes: TOML tables whose dotted paths are the keys.
#include <toml++/toml.h>

#include <cmath>
#include <map>

#include "apps/options_state.h"
#include "data/file.h"
#include "data/json.h"

namespace r1::apps {
namespace {

constexpr std::uint64_t kMaxRecipeBytes = 1 << 20;

const char* type_name(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::table:
      return "table";
    case toml::node_type::array:
      return "array";
    case toml::node_type::string:
      return "string";
    case toml::node_type::integer:
      return "integer";
    case toml::node_type::floating_point:
      return "number";
    case toml::node_type::boolean:
      return "true or false";
    default:
      return "date or time";
  }
}

bool read(const toml::node& node, std::int64_t& value) {
  if (!node.is_integer()) return false;
  value = node.as_integer()->get();
  return true;
}
bool read(const toml::node& node, std::uint64_t& value) {
  std::int64_t x = 0;
  if (!read(node, x) || x < 0) return false;
  value = static_cast<std::uint64_t>(x);
  return true;
}
bool read(const toml::node& node, double& value) {
  if (!node.is_number()) return false;
  value = *node.value<double>();
  return std::isfinite(value);
}
bool read(const toml::node& node, bool& value) {
  if (!node.is_boolean()) return false;
  value = node.as_boolean()->get();
  return true;
}
bool read(const toml::node& node, std::string& value) {
  if (!node.is_string()) return false;
  value = node.as_string()->get();
  return true;
}
template <class T>
bool read(const toml::node& node, std::vector<T>& list) {
  if (!node.is_array()) return false;
  list.clear();
  for (const toml::node& element : *node.as_array())
    if (!read(element, list.emplace_back())) return false;
  return true;
}

// Calls f(dotted key, value node) for everything that is not a table.
template <class F>
void walk(const toml::table& table, const std::string& prefix, F& f) {
  for (const auto& [name, node] : table) {
    const std::string key = prefix + std::string(name.str());
    if (node.is_table()) walk(*node.as_table(), key + ".", f);
    else f(key, node);
  }
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) out += fmt::format("\\u{:04X}", c);
    else out += c;
  }
  return out + "\"";
}

std::string toml_text(std::int64_t x) { return fmt::format("{}", x); }
std::string toml_text(std::uint64_t x) { return fmt::format("{}", x); }
std::string toml_text(bool x) { return x ? "true" : "false"; }
std::string toml_text(const std::string& x) { return quoted(x); }
std::string toml_text(double x) {
  const std::string text = fmt::format("{}", x);
  return text.find_first_of(".e") == std::string::npos ? text + ".0" : text;
}
template <class T>
std::string toml_text(const std::vector<T>& list) {
  std::string text = "[";
  for (const T& x : list) text += (text.size() > 1 ? ", " : "") + toml_text(x);
  return text + "]";
}

// One line, whatever a file path holds.
std::string comment(const std::string& text) { return json::printable(text, 200); }

}  // namespace

std::string Key::State::toml_value() const {
  return std::visit([](const auto* x) { return toml_text(*x); }, target);
}

std::vector<std::string> Options::State::recipe_keys() const {
  std::vector<std::string> names;
  for (const Key::State& k : keys)
    if (!k.command_line_only) names.push_back(k.name);
  return names;
}

void Options::State::read_toml(const std::string& path) {
  const std::string text = read_text_file(path, kMaxRecipeBytes);
  toml::table recipe;
  try {
    recipe = toml::parse(text, path);
  } catch (const toml::parse_error& e) {
    const bool table_and_value = e.description().find("cannot redefine") != std::string::npos;
    throw UsageError(fmt::format("{}:{}: {}{}", path, e.source().begin.line, e.description(),
                                 table_and_value
                                     ? "; beside data = \"F.jsonl\" write \"data.shuffle\" = true, "
                                       "with the quotes, before all tables"
                                     : ""));
  }
  auto take = [&](const std::string& name, const toml::node& node) {
    const std::string where = fmt::format("{}:{}", path, node.source().begin.line);
    Key::State* key = find(name);
    if (key == nullptr || key->command_line_only) {
      const std::string near = nearest(name, recipe_keys());
      throw UsageError(fmt::format(
          "{}: {} '{}'{}", where, key == nullptr ? "unknown key" : "only the command line can set",
          json::printable(name),
          near.empty() || key != nullptr ? "" : ", did you mean '" + near + "'?"));
    }
    if (key->is_set()) return;
    if (!std::visit([&](auto* value) { return read(node, *value); }, key->target)) {
      throw UsageError(fmt::format("{}: {}: expected {}, got {}", where, name, key->expected(),
                                   type_name(node)));
    }
    key->origin = where;
  };
  walk(recipe, "", take);
}

std::string Options::to_toml() const {
  // Keys of one table stand together, in the order in which they were added; those without a dot
  // must come first.
  std::vector<std::string> order = {""};
  std::map<std::string, std::string> tables;
  for (const Key::State& k : state_->keys) {
    if (k.command_line_only) continue;
    const std::size_t dot = k.name.rfind('.');
    // TOML has no table beside a value of the same name (data, data.shuffle): quoted, the dotted
    // key is one word.
    const bool taken = dot != std::string::npos && state_->find(k.name.substr(0, dot)) != nullptr;
    const bool nested = dot != std::string::npos && !taken;
    const std::string table = nested ? k.name.substr(0, dot) : "";
    const std::string name = nested ? k.name.substr(dot + 1) : taken ? quoted(k.name) : k.name;
    if (nested && tables.count(table) == 0) order.push_back(table);
    // A default in words ("all cores") is no value that could be read back.
    const bool in_words = !k.is_set() && !k.default_text.empty();
    const std::string line = fmt::format("{}{} = {}", in_words ? "# " : "", name,
                                         in_words ? k.default_text : k.toml_value());
    tables[table] += fmt::format("{:<39} # {}\n", line, comment(k.origin));
  }
  std::string text;
  for (const std::string& table : order) {
    if (!table.empty()) text += fmt::format("{}[{}]\n", text.empty() ? "" : "\n", table);
    text += tables[table];
  }
  return text;
}

}  // namespace r1::apps
