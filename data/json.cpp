#include "data/json.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>
#include <type_traits>
#include <unordered_set>
#include <vector>

#include "data/file.h"
#include "data/utf8.h"
#include "tensor/error.h"

namespace r1::json {
namespace {

// Reads the text and remembers how far it came, so that every error knows its place.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, const char** farthest) : at_(at), farthest_(farthest) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    *farthest_ = ++at_;
    return *this;
  }
  CountingIterator operator++(int) {
    CountingIterator before = *this;
    ++*this;
    return before;
  }
  bool operator==(const CountingIterator& o) const { return at_ == o.at_; }
  bool operator!=(const CountingIterator& o) const { return at_ != o.at_; }

 private:
  const char* at_;
  const char** farthest_;
};

// Turns nlohmann's callbacks into Events and keeps the depth.
class Adapter {
 public:
  Adapter(Events& events, int max_depth) : events_(events), max_depth_(max_depth) {}

  // What is known about the place of an error beyond how far the text was read.
  std::size_t error_position() const { return error_position_; }  // 0: nothing
  bool in_number() const { return in_number_; }                   // one character may be too many

  bool null() { return events_.null(), true; }
  bool boolean(bool v) { return events_.boolean(v), true; }
  bool number_integer(std::int64_t v) {
    in_number_ = true;
    events_.integer(v);
    return !(in_number_ = false);
  }
  bool number_unsigned(std::uint64_t v) {
    in_number_ = true;
    events_.unsigned_integer(v);
    return !(in_number_ = false);
  }
  bool number_float(double v, const std::string&) {
    in_number_ = true;
    R1_CHECK(std::isfinite(v), "number out of range");
    events_.number(v);
    return !(in_number_ = false);
  }
  bool string(std::string& v) { return events_.string(v), true; }
  bool binary(std::vector<std::uint8_t>&) { return false; }  // not in JSON text
  bool start_object(std::size_t) { return deeper(), events_.begin_object(), true; }
  bool key(std::string& v) { return events_.key(v), true; }
  bool end_object() { return --depth_, events_.end_object(), true; }
  bool start_array(std::size_t) { return deeper(), events_.begin_array(), true; }
  bool end_array() { return --depth_, events_.end_array(), true; }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception& e) {
    error_position_ = position;
    // "[json.exception...] parse error at line 1, column 5: syntax error while parsing value -
    // invalid literal; last read: 'x'": the part in the middle is what a reader needs.
    std::string_view what = e.what();
    if (const std::size_t dash = what.find(" - "); dash != std::string_view::npos)
      what.remove_prefix(dash + 3);
    else if (const std::size_t bracket = what.find("] "); bracket != std::string_view::npos)
      what.remove_prefix(bracket + 2);
    throw Error(printable(what, 160));
  }

 private:
  void deeper() { R1_CHECK(++depth_ <= max_depth_, "nested deeper than {} levels", max_depth_); }

  Events& events_;
  int max_depth_;
  int depth_ = 0;
  std::size_t error_position_ = 0;
  bool in_number_ = false;
};

// Builds a Value or an OrderedValue. Open containers are on a stack of pointers: a container's
// address is fixed while one of its members is open.
template <class V>
class TreeBuilder : public Events {
 public:
  explicit TreeBuilder(V& root) : root_(root) {}

  void begin_object() override { open(V::object()); }
  void key(std::string& name) override {
    if constexpr (std::is_same_v<V, OrderedValue>) {  // its own look-up is linear
      R1_CHECK(keys_.back().insert(name).second, "key '{}' occurs twice", printable(name));
      auto& members = stack_.back()->template get_ref<typename V::object_t&>();
      members.emplace_back(name, V());
      member_ = &members.back().second;
    } else {
      const auto [at, added] =
          stack_.back()->template get_ref<typename V::object_t&>().emplace(name, V());
      R1_CHECK(added, "key '{}' occurs twice", printable(name));
      member_ = &at->second;
    }
  }
  void end_object() override { close(); }
  void begin_array() override { open(V::array()); }
  void end_array() override { close(); }
  void null() override { add(V()); }
  void boolean(bool value) override { add(V(value)); }
  void integer(std::int64_t value) override { add(V(value)); }
  void unsigned_integer(std::uint64_t value) override { add(V(value)); }
  void number(double value) override { add(V(value)); }
  void string(std::string& value) override { add(V(std::move(value))); }

 private:
  V* add(V&& value) {
    V* place = &root_;
    if (!stack_.empty() && stack_.back()->is_array()) {
      auto& elements = stack_.back()->template get_ref<typename V::array_t&>();
      elements.push_back(std::move(value));
      return &elements.back();
    }
    if (!stack_.empty()) place = member_;
    *place = std::move(value);
    return place;
  }
  void open(V&& container) {
    if constexpr (std::is_same_v<V, OrderedValue>) keys_.emplace_back();
    stack_.push_back(add(std::move(container)));
  }
  void close() {
    if constexpr (std::is_same_v<V, OrderedValue>) keys_.pop_back();
    stack_.pop_back();
  }

  V& root_;
  std::vector<V*> stack_;
  V* member_ = nullptr;
  std::vector<std::unordered_set<std::string>> keys_;
};

[[noreturn]] void fail_at(std::string_view text, std::size_t position, std::string_view where,
                          const char* what) {
  const std::string_view before = text.substr(0, std::min(position, text.size()));
  std::size_t line = 1;
  std::size_t line_begin = 0;
  for (std::size_t i = 0; i < before.size(); ++i) {
    if (before[i] == '\n') {
      ++line;
      line_begin = i + 1;
    }
  }
  fail("{}: line {}, column {}: {}", where, line, before.size() - line_begin, what);
}

[[noreturn]] void fail_type(std::string_view where, std::string_view key, const char* expected,
                            const Value& got) {
  fail("{}: {}: expected {}, got {}", where, key, expected, type_name(got));
}

const Value& require(const Value& object, std::string_view key, std::string_view where) {
  R1_CHECK(object.is_object(), "{}: {}: expected an object around it, got {}", where, key,
           type_name(object));
  const auto at = object.find(key);
  R1_CHECK(at != object.end(), "{}: {}: the key is missing", where, key);
  return *at;
}

std::int64_t as_int(const Value& v, std::string_view key, std::string_view where, std::int64_t min,
                    std::int64_t max) {
  if (!v.is_number_integer()) fail_type(where, key, "integer", v);
  constexpr auto kMax = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  const bool too_large = v.is_number_unsigned() && v.get<std::uint64_t>() > kMax;
  const std::int64_t n = too_large ? 0 : v.get<std::int64_t>();
  R1_CHECK(!too_large && n >= min && n <= max, "{}: {}: {} is outside {} .. {}", where, key,
           v.dump(), min, max);
  return n;
}

double as_number(const Value& v, std::string_view key, std::string_view where) {
  if (!v.is_number()) fail_type(where, key, "number", v);
  return v.get<double>();
}

bool as_bool(const Value& v, std::string_view key, std::string_view where) {
  if (!v.is_boolean()) fail_type(where, key, "boolean", v);
  return v.get<bool>();
}

std::string as_string(const Value& v, std::string_view key, std::string_view where) {
  if (!v.is_string()) fail_type(where, key, "string", v);
  return v.get<std::string>();
}

void check_finite(const Value& value, std::string_view where) {
  if (value.is_number_float()) {
    R1_CHECK(std::isfinite(value.get<double>()), "{}: a number is not finite", where);
  } else if (value.is_structured()) {
    for (const Value& member : value) check_finite(member, where);
  }
}

}  // namespace

void parse_events(std::string_view text, std::string_view where, Events& events,
                  const Limits& limits) {
  R1_CHECK(text.size() <= limits.max_bytes, "{}: {} bytes of JSON, the limit is {}", where,
           text.size(), limits.max_bytes);
  const char* farthest = text.data();
  // nlohmann takes a NUL for the end of the text.
  if (const std::size_t nul = text.find('\0'); nul != std::string_view::npos)
    fail_at(text, nul + 1, where, "a NUL byte in the text");
  Adapter adapter(events, limits.max_depth);
  try {
    nlohmann::json::sax_parse(CountingIterator(text.data(), &farthest),
                              CountingIterator(text.data() + text.size(), &farthest), &adapter);
  } catch (const Error& e) {
    auto position = static_cast<std::size_t>(farthest - text.data());
    if (adapter.error_position() > 0) position = adapter.error_position();
    if (adapter.in_number() && (text[position - 1] < '0' || text[position - 1] > '9')) --position;
    fail_at(text, position, where, e.what());
  }
}

Value parse(std::string_view text, std::string_view where, const Limits& limits) {
  Value root;
  TreeBuilder<Value> builder(root);
  parse_events(text, where, builder, limits);
  return root;
}

OrderedValue parse_ordered(std::string_view text, std::string_view where, const Limits& limits) {
  OrderedValue root;
  TreeBuilder<OrderedValue> builder(root);
  parse_events(text, where, builder, limits);
  return root;
}

Value read_file(const std::string& path, const Limits& limits) {
  return parse(read_text_file(path, limits.max_bytes), path, limits);
}

std::int64_t get_int(const Value& object, std::string_view key, std::string_view where,
                     std::int64_t min, std::int64_t max) {
  return as_int(require(object, key, where), key, where, min, max);
}
double get_number(const Value& object, std::string_view key, std::string_view where) {
  return as_number(require(object, key, where), key, where);
}
bool get_bool(const Value& object, std::string_view key, std::string_view where) {
  return as_bool(require(object, key, where), key, where);
}
std::string get_string(const Value& object, std::string_view key, std::string_view where) {
  return as_string(require(object, key, where), key, where);
}

std::int64_t get_int_or(const Value& object, std::string_view key, std::int64_t fallback,
                        std::string_view where, std::int64_t min, std::int64_t max) {
  const Value* v = find(object, key, where);
  return v == nullptr ? fallback : as_int(*v, key, where, min, max);
}
double get_number_or(const Value& object, std::string_view key, double fallback,
                     std::string_view where) {
  const Value* v = find(object, key, where);
  return v == nullptr ? fallback : as_number(*v, key, where);
}
bool get_bool_or(const Value& object, std::string_view key, bool fallback, std::string_view where) {
  const Value* v = find(object, key, where);
  return v == nullptr ? fallback : as_bool(*v, key, where);
}
std::string get_string_or(const Value& object, std::string_view key, std::string_view fallback,
                          std::string_view where) {
  const Value* v = find(object, key, where);
  return v == nullptr ? std::string(fallback) : as_string(*v, key, where);
}

const Value* find(const Value& object, std::string_view key, std::string_view where) {
  R1_CHECK(object.is_object(), "{}: {}: expected an object around it, got {}", where, key,
           type_name(object));
  const auto at = object.find(key);
  return at == object.end() || at->is_null() ? nullptr : &*at;
}

const char* type_name(const Value& value) {
  if (value.is_number_integer()) return "integer";
  if (value.is_number()) return "number";
  if (value.is_string()) return "string";
  if (value.is_boolean()) return "boolean";
  if (value.is_array()) return "array";
  if (value.is_object()) return "object";
  return "null";
}

std::string dump(const Value& value, std::string_view where) {
  check_finite(value, where);
  try {
    return value.dump();
  } catch (const nlohmann::json::exception&) {
    fail("{}: a string is not valid UTF-8", where);
  }
}

bool is_valid_utf8(std::string_view text) {
  return utf8_find_invalid(text) == std::string_view::npos;
}

std::string printable(std::string_view text, std::size_t max_bytes) {
  const bool cut = text.size() > max_bytes;
  std::string_view part = text.substr(0, max_bytes);
  while (cut && !part.empty() && (static_cast<unsigned char>(text[part.size()]) & 0xc0) == 0x80)
    part.remove_suffix(1);  // never inside a character
  const bool valid = is_valid_utf8(part);
  std::string out;
  for (const char c : part) {
    const auto u = static_cast<unsigned char>(c);
    out += u < 0x20 || u == 0x7f || (u >= 0x80 && !valid) ? '?' : c;
  }
  return cut ? out + "..." : out;
}

}  // namespace r1::json
