// r1 sft: supervised fine-tuning of a model.
#include <CLI/CLI.hpp>

#include "apps/run_folder.h"
#include "apps/train.h"

namespace r1::apps {

void add_sft(CLI::App& program) {
  auto c = std::make_shared<TrainConfig>();
  c->lr = 2e-5;
  Options options(program, "sft", kTrainingVerbs, "supervised fine-tuning of a model");
  add_model(options, &c->model);
  add_train_options(options, *c);
  options.epilog(
      "Learnt are the completion where there is a prompt, the assistant's turns of messages, and "
      "all of a text.\n"
      "Example: r1 sft --model models/SmolLM2-135M-Instruct.Q4_1.gguf --data train.jsonl --out "
      "runs/sft --train.steps 100");
  options.run([c, options] {
    train("sft", options, *c, [&c] {
      const auto source = nn::ModelSource::open(resolve_model_path(c->model));
      return StartingPoint{source.load(c->dtype), nn::model_files(source),
                           text_reader(source.tokenizer(), source.where())};
    });
  });
}

}  // namespace r1::apps
