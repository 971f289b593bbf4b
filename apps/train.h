// Training on given tokens: what `r1 pretrain` and `r1 sft` share. They differ in where the
// weights come from.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "apps/options.h"
#include "data/dataset.h"
#include "nn/load.h"
#include "optim/adamw.h"
#include "optim/schedule.h"

namespace r1::apps {

struct TrainConfig {
  std::string model, tokenizer, data, out;
  std::int64_t steps = 0;
  std::int64_t batch_size = 8;             // sequences an optimizer step
  std::int64_t micro_batch_tokens = 1024;  // tokens computed together
  bool shuffle = true;
  bool recompute = false;
  std::uint64_t seed = 0;
  DType dtype = DType::f32;
  double lr = 0;
  std::string schedule = "constant", lr_list;
  std::int64_t warmup_steps = 0;
  optim::AdamwConfig adamw;
  double max_grad_norm = 1;
  std::int64_t checkpoint_every = 100;
  bool resume = false;
};

// The options of both verbs, bound to `c`.
void add_train_options(Options& options, TrainConfig& c);

// Where a run begins: a model without or with weights, and the files beside them.
struct StartingPoint {
  std::unique_ptr<nn::Transformer> model;
  nn::ModelFiles files;
  TextReader reader;
};

// The chat form of a tokenizer's template, when it has one.
TextReader text_reader(std::optional<Tokenizer> tokenizer, const std::string& source);

// Runs or resumes the training of a run folder. `start` is called when there is no checkpoint to
// go on from; a checkpoint is a model of its own.
void train(const std::string& verb, const Options& options, const TrainConfig& c,
           const std::function<StartingPoint()>& start);

}  // namespace r1::apps
