// JSON Lines: one object a line. Blank lines are skipped; CRLF and a byte-order mark are accepted.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "data/json.h"

namespace r1 {

struct JsonLine {
  std::int64_t number = 0;  // in the file, from 1
  json::Value value;        // an object
};

// "FILE: line 12", for errors about a line.
std::string line_name(const std::string& path, const JsonLine& line);

// All lines. Throws Error naming file and line for bad JSON or a line that is no object, and Error
// when there is no line at all.
std::vector<JsonLine> read_jsonl(const std::string& path);
std::vector<JsonLine> parse_jsonl(std::string_view text, const std::string& path);

// The member `key` as token ids; throws Error naming the place of an element that is none.
std::vector<std::int32_t> get_ids(const json::Value& object, const char* key,
                                  const std::string& where);

}  // namespace r1
