// JSON (RFC 8259) through nlohmann/json, strict and bounded: depth and size limits, no duplicate
// keys, no invalid UTF-8, no NUL, no NaN or Infinity. Files include <nlohmann/json.hpp> themselves
// where they look inside a value. Errors are r1::Error: "config.json: line 3, column 7: ...".
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace r1::json {

using Value = nlohmann::json;                 // keys sorted
using OrderedValue = nlohmann::ordered_json;  // keys in the order of the file

struct Limits {
  std::size_t max_bytes = 256u << 20;
  int max_depth = 64;
};

// `where` names the source in errors: a path, "line 12 of train.jsonl", ...
Value parse(std::string_view text, std::string_view where, const Limits& limits = {});
OrderedValue parse_ordered(std::string_view text, std::string_view where,
                           const Limits& limits = {});
Value read_file(const std::string& path, const Limits& limits = {});

// Receives the parts of a document in order, for readers that must not build a tree. A handler
// refuses something by throwing Error with a short text; source, line and column are put before it.
class Events {
 public:
  virtual ~Events() = default;
  virtual void begin_object() = 0;
  virtual void key(std::string& name) = 0;  // the handler refuses duplicates
  virtual void end_object() = 0;
  virtual void begin_array() = 0;
  virtual void end_array() = 0;
  virtual void null() = 0;
  virtual void boolean(bool value) = 0;
  virtual void integer(std::int64_t value) = 0;            // a number below zero
  virtual void unsigned_integer(std::uint64_t value) = 0;  // any other whole number < 2^64
  virtual void number(double value) = 0;
  virtual void string(std::string& value) = 0;  // may be moved from
};
void parse_events(std::string_view text, std::string_view where, Events& events,
                  const Limits& limits = {});

// Typed members of an object. Throws Error "config.json: hidden_size: expected integer, got string"
// when `object` is no object, the key is absent, the type is wrong or the number out of range.
std::int64_t get_int(const Value& object, std::string_view key, std::string_view where,
                     std::int64_t min = std::numeric_limits<std::int64_t>::min(),
                     std::int64_t max = std::numeric_limits<std::int64_t>::max());
double get_number(const Value& object, std::string_view key, std::string_view where);
bool get_bool(const Value& object, std::string_view key, std::string_view where);
std::string get_string(const Value& object, std::string_view key, std::string_view where);

// The same, but an absent key or null gives `fallback`.
std::int64_t get_int_or(const Value& object, std::string_view key, std::int64_t fallback,
                        std::string_view where,
                        std::int64_t min = std::numeric_limits<std::int64_t>::min(),
                        std::int64_t max = std::numeric_limits<std::int64_t>::max());
double get_number_or(const Value& object, std::string_view key, double fallback,
                     std::string_view where);
bool get_bool_or(const Value& object, std::string_view key, bool fallback, std::string_view where);
std::string get_string_or(const Value& object, std::string_view key, std::string_view fallback,
                          std::string_view where);

// The member, or nullptr when it is absent or null. Throws Error when `object` is no object.
const Value* find(const Value& object, std::string_view key, std::string_view where);

// "integer", "number", "string", "boolean", "array", "object" or "null".
const char* type_name(const Value& value);

// One line of JSON. Throws Error when a string is not valid UTF-8 or a number not finite (which
// nlohmann would write as null).
std::string dump(const Value& value, std::string_view where);

bool is_valid_utf8(std::string_view text);

// Text for an error message: control characters and invalid bytes replaced, cut to a short line.
std::string printable(std::string_view text, std::size_t max_bytes = 80);

}  // namespace r1::json
