// What the verbs do with M and with lines of token ids or text.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/jsonl.h"
#include "nn/load.h"

namespace r1::apps {

struct OpenModel {
  nn::ModelSource source;
  std::optional<Tokenizer> tokenizer;  // nothing: only lines with `ids` work
  std::unique_ptr<nn::Transformer> model;
};

// M (a folder, a .gguf file, a run folder) with its weights.
OpenModel open_model(const std::string& m, DType dtype);

// The tokenizer, or Error that says what lines must hold without one.
const Tokenizer& need_tokenizer(const OpenModel& m, const std::string& where);

// The ids of a line: `ids` as they are, else `text` encoded without a beginning-of-text token.
std::vector<std::int32_t> ids_of_line(const OpenModel& m, const JsonLine& line,
                                      const std::string& path);

// "[-1.25,-0.5]" with as many significant digits as the dtype carries: 9 for f32, 17 for f64.
std::string number_list(const std::vector<double>& values, DType dtype);
std::string number(double value, DType dtype);

// Where result lines go: a file that appears whole at the end, or stdout for "".
class ResultLines {
 public:
  explicit ResultLines(const std::string& path);
  void write(std::string_view line);
  void finish();

 private:
  std::unique_ptr<AtomicFile> file_;
};

}  // namespace r1::apps
