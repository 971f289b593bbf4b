// r1 grad: the gradient of the mean negative log-likelihood, as a safetensors file.
#include <CLI/CLI.hpp>

#include "apps/model_input.h"
#include "apps/options.h"
#include "apps/terminal.h"
#include "nn/batch.h"
#include "optim/train_step.h"

namespace r1::apps {
namespace {

struct GradConfig {
  std::string model, data, out;
  std::int64_t micro_batch_tokens = 2048;
  DType dtype = DType::f32;
};

void run_grad(const GradConfig& c) {
  const auto lines = read_jsonl(c.data);
  OpenModel m = open_model(c.model, c.dtype);
  std::vector<Example> examples;
  std::int64_t targets = 0;
  for (const JsonLine& line : lines) {
    examples.push_back({ids_of_line(m, line, c.data), {}});
    targets += examples.back().targets();
  }
  R1_CHECK(targets > 0, "{}: no line has a second token to predict", c.data);
  const auto ends = nn::split_by_tokens(examples, c.micro_batch_tokens);
  const ParameterList parameters = m.model->parameters();
  const double loss = optim::accumulate_gradients(
      parameters, ends.size(), static_cast<double>(targets), [&](std::size_t i) {
        check_stop();
        const std::size_t begin = i == 0 ? 0 : ends[i - 1];
        const auto part = std::span(examples).subspan(begin, ends[i] - begin);
        const nn::Batch batch = nn::make_batch(m.source.config(), part);
        return affine(sum(nn::target_logprobs(*m.model, batch)), -1, 0);
      });
  std::vector<TensorEntry> entries;
  for (const NamedParameter& p : parameters) {
    entries.push_back(entry_of(p.name, p.parameter->gradient()));
  }
  write_safetensors(c.out, entries);
  note(fmt::format("mean negative log-likelihood {} over {} tokens, gradient norm {}; {} written",
                   number(loss, c.dtype), format_count(targets),
                   number(optim::global_norm(parameters), c.dtype), c.out));
}

}  // namespace

void add_grad(CLI::App& program) {
  auto c = std::make_shared<GradConfig>();
  Options options(program, "grad", kModelVerbs,
                  "gradient of the mean negative log-likelihood of given tokens");
  add_model(options, &c->model);
  add_data(options, &c->data, "lines with \"ids\" or \"text\"").required();
  add_out(options, &c->out, "G.safetensors", "one tensor per parameter, named as in the model")
      .required();
  options
      .add("micro_batch_tokens", &c->micro_batch_tokens, "N",
           "tokens computed together; the gradient is that of all lines")
      .at_least(1);
  add_dtype(options, &c->dtype);
  add_threads(options);
  options.run([c] { run_grad(*c); });
}

}  // namespace r1::apps
