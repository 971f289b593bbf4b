// r1 pretrain: a model from random weights.
#include <CLI/CLI.hpp>
#include <filesystem>

#include "apps/train.h"
#include "data/file.h"

namespace r1::apps {
namespace {

StartingPoint random_start(const TrainConfig& c) {
  const std::string path =
      std::filesystem::is_directory(c.model) ? c.model + "/config.json" : c.model;
  StartingPoint start;
  start.files.config = json::parse_ordered(read_text_file(path), path);
  const nn::ModelConfig config = nn::config_from_json(json::read_file(path), path);
  std::optional<Tokenizer> tokenizer;
  if (!c.tokenizer.empty()) {
    tokenizer = Tokenizer::from_json_file(c.tokenizer);
    R1_CHECK(tokenizer->vocab_size() <= config.vocab_size,
             "{}: vocab_size {} is smaller than the {} tokens of {}", path, config.vocab_size,
             tokenizer->vocab_size(), c.tokenizer);
    start.files.tokenizer = tokenizer->files();
  }
  if (!config.eos_ids.empty()) start.files.generation_config["eos_token_id"] = config.eos_ids;
  start.reader = text_reader(tokenizer, c.model);
  start.model = std::make_unique<nn::Transformer>(config, c.dtype);
  nn::initialise(*start.model, c.seed);
  return start;
}

}  // namespace

void add_pretrain(CLI::App& program) {
  auto c = std::make_shared<TrainConfig>();
  c->lr = 1e-3;
  Options options(program, "pretrain", kTrainingVerbs, "a model from random weights");
  options.add("model", &c->model, "CONFIG.json|folder", "the shape of the model").required();
  options.add("tokenizer", &c->tokenizer, "T", "tokenizer.json or its folder; not needed for ids");
  add_train_options(options, *c);
  options.epilog(
      "Example: r1 pretrain --model tests/golden/models/llama_plain --data ids.jsonl --out runs/p "
      "--train.steps 100");
  options.run([c, options] { train("pretrain", options, *c, [&c] { return random_start(*c); }); });
}

}  // namespace r1::apps
