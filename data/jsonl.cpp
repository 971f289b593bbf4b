#include "data/jsonl.h"

#include <algorithm>

#include "data/file.h"
#include "tensor/error.h"

namespace r1 {

std::string line_name(const std::string& path, const JsonLine& line) {
  return fmt::format("{}: line {}", path, line.number);
}

std::vector<JsonLine> parse_jsonl(std::string_view text, const std::string& path) {
  std::vector<JsonLine> lines;
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  for (std::int64_t number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    JsonLine parsed{number, {}};
    const std::string where = line_name(path, parsed);
    parsed.value = json::parse(line, where);
    R1_CHECK(parsed.value.is_object(), "{}: expected an object, got {}", where,
             json::type_name(parsed.value));
    lines.push_back(std::move(parsed));
  }
  R1_CHECK(!lines.empty(), "{}: holds no line; expected one JSON object a line", path);
  return lines;
}

std::vector<JsonLine> read_jsonl(const std::string& path) {
  const MappedFile file(path);
  const auto bytes = file.bytes();
  return parse_jsonl({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path);
}

std::vector<std::int32_t> get_ids(const json::Value& object, const char* key,
                                  const std::string& where) {
  const json::Value* v = json::find(object, key, where);
  R1_CHECK(v != nullptr, "{}: {}: missing", where, key);
  R1_CHECK(v->is_array(), "{}: {}: expected a list of token ids, got {}", where, key,
           json::type_name(*v));
  std::vector<std::int32_t> ids;
  ids.reserve(v->size());
  for (std::size_t i = 0; i < v->size(); ++i) {
    const json::Value& x = (*v)[i];
    R1_CHECK(x.is_number_integer() && x.get<std::int64_t>() >= 0 &&
                 x.get<std::int64_t>() < (std::int64_t{1} << 31),
             "{}: {}: element {} is no token id", where, key, i);
    ids.push_back(x.get<std::int32_t>());
  }
  return ids;
}

}  // namespace r1
