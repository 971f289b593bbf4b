// r1 score: log-probabilities of given tokens.
#include <CLI/CLI.hpp>

#include "apps/model_input.h"
#include "apps/options.h"
#include "apps/terminal.h"
#include "nn/batch.h"

namespace r1::apps {
namespace {

constexpr std::size_t kLinesAtOnce = 64;

struct ScoreConfig {
  std::string model, data, out;
  DType dtype = DType::f32;
};

std::string answer(const std::vector<double>& logprobs, DType dtype) {
  double nll = 0;
  for (const double x : logprobs) nll -= x;
  return fmt::format("{{\"logprobs\":{},\"nll\":{},\"tokens\":{}}}", number_list(logprobs, dtype),
                     number(nll, dtype), logprobs.size());
}

void run_score(const ScoreConfig& c) {
  const auto lines = read_jsonl(c.data);
  OpenModel m = open_model(c.model, c.dtype);
  std::vector<std::vector<std::int32_t>> sequences;
  for (const JsonLine& line : lines) {
    sequences.push_back(ids_of_line(m, line, c.data));
    try {
      nn::pack_sequences(m.source.config(), {&sequences.back(), 1});
    } catch (const Error& e) {
      fail("{}: {}", line_name(c.data, line), e.what());
    }
  }
  ResultLines out(c.out);
  Progress progress("line", static_cast<std::int64_t>(lines.size()), "tokens");
  for (std::size_t i = 0; i < sequences.size(); i += kLinesAtOnce) {
    check_stop();
    const std::size_t count = std::min(kLinesAtOnce, sequences.size() - i);
    const auto part = std::span(sequences).subspan(i, count);
    double tokens = 0;
    for (const auto& logprobs : nn::score(*m.model, part)) {
      out.write(answer(logprobs, c.dtype));
      tokens += static_cast<double>(logprobs.size() + 1);
    }
    progress.update(static_cast<std::int64_t>(i + count), tokens);
  }
  out.finish();
  progress.finish();
}

}  // namespace

void add_score(CLI::App& program) {
  auto c = std::make_shared<ScoreConfig>();
  Options options(program, "score", kModelVerbs, "log-probabilities of given tokens");
  add_model(options, &c->model);
  add_data(options, &c->data, "lines with \"ids\" or \"text\"").required();
  add_out(options, &c->out, "G.jsonl", "answers, one line each; default: stdout");
  add_dtype(options, &c->dtype);
  add_threads(options);
  options.epilog(
      "Each answer is {\"logprobs\":[...],\"nll\":x,\"tokens\":n}: the log-probabilities of tokens "
      "2 to n of the line, minus their sum, and their number.\n"
      "Example: r1 score --model models/SmolLM2-135M-Instruct.Q4_1.gguf --data lines.jsonl");
  options.run([c] { run_score(*c); });
}

}  // namespace r1::apps
