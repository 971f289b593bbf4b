#include "apps/model_input.h"

#include "apps/run_folder.h"
#include "apps/terminal.h"

namespace r1::apps {

OpenModel open_model(const std::string& m, DType dtype) {
  OpenModel open{nn::ModelSource::open(resolve_model_path(m)), {}, {}};
  open.tokenizer = open.source.tokenizer();
  open.model = open.source.load(dtype);
  return open;
}

const Tokenizer& need_tokenizer(const OpenModel& m, const std::string& where) {
  R1_CHECK(m.tokenizer.has_value(), "{}: {} has no tokenizer: give `ids` instead of text", where,
           m.source.where());
  return *m.tokenizer;
}

std::vector<std::int32_t> ids_of_line(const OpenModel& m, const JsonLine& line,
                                      const std::string& path) {
  const std::string where = line_name(path, line);
  if (line.value.contains("ids")) return get_ids(line.value, "ids", where);
  R1_CHECK(line.value.contains("text"), "{}: expected \"ids\" or \"text\"", where);
  const std::string text = json::get_string(line.value, "text", where);
  return need_tokenizer(m, where).encode(text);
}

std::string number(double value, DType dtype) {
  return dtype == DType::f64 ? fmt::format("{:.17g}", value) : fmt::format("{:.9g}", value);
}

std::string number_list(const std::vector<double>& values, DType dtype) {
  std::string s = "[";
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i > 0) s += ',';
    s += number(values[i], dtype);
  }
  return s + "]";
}

ResultLines::ResultLines(const std::string& path) {
  if (!path.empty()) file_ = std::make_unique<AtomicFile>(path);
}

void ResultLines::write(std::string_view line) {
  if (!file_) return write_line(line);
  file_->write(line);
  file_->write("\n");
}

void ResultLines::finish() {
  if (file_) file_->commit();
}

}  // namespace r1::apps
