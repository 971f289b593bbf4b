#include "apps/train.h"

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "apps/model_input.h"
#include "apps/run_folder.h"
#include "apps/terminal.h"
#include "nn/batch.h"
#include "optim/train_state.h"
#include "optim/train_step.h"
#include "tensor/allocator.h"

namespace r1::apps {
namespace {

struct Stopped {};  // a signal came inside a step, which is then given up

optim::Schedule schedule_of(const TrainConfig& c) {
  optim::Schedule s;
  s.kind = optim::schedule_kind(c.schedule);
  s.lr = c.lr;
  s.warmup_steps = c.warmup_steps;
  s.steps = c.steps;
  if (s.kind != optim::ScheduleKind::list) return s;
  if (c.lr_list.empty()) throw UsageError("--optim.schedule list needs --optim.lr_list F.json");
  const json::Value list = json::read_file(c.lr_list);
  R1_CHECK(list.is_array(), "{}: expected an array of learning rates", c.lr_list);
  for (const json::Value& x : list) {
    R1_CHECK(x.is_number(), "{}: {} is no learning rate", c.lr_list, json::type_name(x));
    s.list.push_back(x.get<double>());
  }
  R1_CHECK(static_cast<std::int64_t>(s.list.size()) >= c.steps,
           "{}: {} learning rates for {} steps", c.lr_list, s.list.size(), c.steps);
  return s;
}

// The options that a resumed run must share with its beginning to be the same run.
nlohmann::ordered_json fingerprint(const TrainConfig& c, std::size_t examples) {
  return {{"seed", c.seed},
          {"data.examples", examples},
          {"data.shuffle", c.shuffle},
          {"train.batch_size", c.batch_size},
          {"train.micro_batch_tokens", c.micro_batch_tokens},
          {"dtype", name_of(c.dtype)}};
}

class Trainer {
 public:
  Trainer(std::string verb, const Options& options, const TrainConfig& c,
          const std::function<StartingPoint()>& start)
      : verb_(std::move(verb)), c_(c), schedule_(schedule_of(c)) {
    // An existing folder is locked or refused first; a new one is made when model and data are
    // good.
    if (std::filesystem::exists(c.out)) run_.emplace(c.out, c.resume);
    const std::optional<Checkpoint> checkpoint = run_ ? run_->newest_checkpoint() : std::nullopt;
    if (checkpoint) {
      const auto source = nn::ModelSource::open(checkpoint->path);
      start_.model = source.load(c.dtype);
      start_.files = nn::model_files(source);
      start_.reader = text_reader(source.tokenizer(), c.out);
    } else {
      start_ = start();
    }
    start_.model->set_recompute(c.recompute);
    const nn::ModelConfig& model = start_.model->config();
    examples_ = read_examples(c.data, start_.reader, model.max_positions, model.vocab_size);
    order_.emplace(examples_.size(), c.shuffle, c.seed);
    optimizer_.emplace(start_.model->parameters(), c.adamw);
    if (checkpoint) restore(*checkpoint);
    if (!run_) run_.emplace(c.out, c.resume);
    run_->record_start(options.to_toml(), step_);
    metrics_ = run_->open_metrics(step_);
  }

  void run() {
    header();
    Progress progress("step", c_.steps, "tokens", step_);
    while (step_ < c_.steps) {
      try {
        one_step(progress);
      } catch (const Stopped&) {
        interrupted(progress);
      }
      const bool last = step_ == c_.steps;
      if (c_.checkpoint_every > 0 && (step_ % c_.checkpoint_every == 0 || last)) save_checkpoint();
      if (!last && stop_requested() != 0) interrupted(progress);
    }
    progress.finish();
    save_final();
    farewell();
  }

 private:
  void restore(const Checkpoint& checkpoint) {
    const json::Value state = optim::load_trainer(checkpoint.path, *optimizer_);
    const std::string where = checkpoint.path + "/trainer/state.json";
    const json::Value* options = json::find(state, "options", where);
    R1_CHECK(options != nullptr, "{}: options: missing", where);
    const json::Value now = json::parse(fingerprint(c_, examples_.size()).dump(), "options");
    for (const auto& [key, value] : now.items()) {
      R1_CHECK(options->contains(key) && options->at(key) == value,
               "{}: {} was {} when this run began and is {} now: resume with the same options",
               where, key, options->contains(key) ? options->at(key).dump() : "absent",
               value.dump());
    }
    step_ = json::get_int(state, "step", where, 0);
    tokens_ = json::get_int(state, "num_tokens", where, 0);
    saved_ = step_;
  }

  void header() const {
    const nn::Transformer& m = *start_.model;
    write_note(fmt::format("r1 {}: {} {} parameters, {} examples of {}", verb_,
                           m.config().model_type, format_count(start_.model->parameter_count()),
                           format_count(static_cast<std::int64_t>(examples_.size())), c_.data));
    write_note(fmt::format(
        "loss: mean over the batch's predicted tokens; AdamW lr {:g} {}, warm-up {}, weight decay "
        "{:g}, clip {:g}; {} sequences a step, {}, seed {}, {}",
        c_.lr, c_.schedule, c_.warmup_steps, c_.adamw.weight_decay, c_.max_grad_norm, c_.batch_size,
        name_of(c_.dtype), c_.seed, kernels().name));
    if (step_ > 0) note(fmt::format("{} goes on after step {}", c_.out, step_));
  }

  std::vector<Example> batch_of(std::int64_t step) {
    std::vector<Example> batch;
    for (std::int64_t i = 0; i < c_.batch_size; ++i) {
      batch.push_back(examples_[order_->at(static_cast<std::uint64_t>(step * c_.batch_size + i))]);
    }
    return batch;
  }

  void one_step(Progress& progress) {
    const auto start = std::chrono::steady_clock::now();
    const std::vector<Example> batch = batch_of(step_);
    const auto ends = nn::split_by_tokens(batch, c_.micro_batch_tokens);
    std::int64_t targets = 0, tokens = 0;
    for (const Example& e : batch) {
      targets += e.targets();
      tokens += static_cast<std::int64_t>(e.ids.size());
    }
    const double lr = schedule_.at(step_);
    const optim::StepStats stats = optim::train_step(
        *optimizer_, ends.size(), static_cast<double>(targets),
        [&](std::size_t i) {
          if (stop_requested() != 0) throw Stopped{};
          const std::size_t begin = i == 0 ? 0 : ends[i - 1];
          const nn::Batch part = nn::make_batch(start_.model->config(),
                                                std::span(batch).subspan(begin, ends[i] - begin));
          // Sum of the negative log-likelihoods of the micro-batch.
          return affine(sum(nn::target_logprobs(*start_.model, part)), -1, 0);
        },
        {.lr = lr, .max_grad_norm = c_.max_grad_norm});
    ++step_;
    tokens_ += tokens;
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    metrics_->write_line(fmt::format(
        "{{\"step\":{},\"loss\":{:.17g},\"grad_norm\":{:.17g},\"learning_rate\":{:.17g},"
        "\"num_tokens\":{},\"step_time\":{:.6g}}}",
        step_, stats.loss, stats.grad_norm, lr, tokens_, seconds.count()));
    progress.update(
        step_, static_cast<double>(tokens),
        fmt::format("loss {:.4f} · grad norm {:.3f} · lr {:.2e}", stats.loss, stats.grad_norm, lr));
  }

  void save_checkpoint() {
    if (saved_ == step_) return;
    metrics_->sync();
    AtomicFolder folder(run_->checkpoint_path(step_), AtomicFolder::IfExists::replace);
    nn::save_model(folder.path(), *start_.model, start_.files);
    optim::save_trainer(
        folder.path(), *optimizer_,
        {{"step", step_}, {"num_tokens", tokens_}, {"options", fingerprint(c_, examples_.size())}});
    write_manifest(folder.path());
    folder.commit();
    saved_ = step_;
  }

  [[noreturn]] void interrupted(Progress& progress) {
    progress.finish();
    if (step_ > 0) save_checkpoint();
    throw Interrupted(
        stop_requested(),
        fmt::format("stopped after step {}; the same command with --resume goes on", step_));
  }

  void save_final() {
    metrics_->sync();
    AtomicFolder folder(run_->model_path(), AtomicFolder::IfExists::replace);
    nn::save_model(folder.path(), *start_.model, start_.files);
    folder.commit();
  }

  void farewell() const {
    std::string parts;
    for (const memory::Account& a : memory::accounts()) {
      if (a.peak > (std::size_t{1} << 20)) {
        parts += fmt::format("{}{} {}", parts.empty() ? "" : ", ", a.name,
                             format_bytes(static_cast<double>(a.peak)));
      }
    }
    write_note(fmt::format("memory at most {}{}",
                           format_bytes(static_cast<double>(memory::peak_bytes())),
                           parts.empty() ? "" : " (" + parts + ")"));
    write_note(fmt::format("the model is in {}", run_->model_path()));
    write_note(fmt::format("next: r1 generate --model {} --prompt TEXT", c_.out));
    write_note(fmt::format("      r1 score --model {} --data F.jsonl", c_.out));
    write_note(fmt::format("      r1 inspect {}", c_.out));
  }

  std::string verb_;
  const TrainConfig& c_;
  optim::Schedule schedule_;
  std::optional<RunFolder> run_;
  StartingPoint start_;
  std::vector<Example> examples_;
  std::optional<DataOrder> order_;
  std::optional<optim::AdamW> optimizer_;
  std::unique_ptr<LineWriter> metrics_;
  std::int64_t step_ = 0;    // done
  std::int64_t tokens_ = 0;  // seen
  std::int64_t saved_ = -1;  // step of the newest checkpoint
};

}  // namespace

TextReader text_reader(std::optional<Tokenizer> tokenizer, const std::string& source) {
  TextReader reader{std::move(tokenizer), std::nullopt, source};
  if (reader.tokenizer && !reader.tokenizer->chat_template().empty()) {
    try {
      reader.chat = ChatForm::of_template(reader.tokenizer->chat_template(), source);
    } catch (const Error&) {
      // An unknown form matters only to lines with `messages`, which then say so.
    }
  }
  return reader;
}

void add_train_options(Options& options, TrainConfig& c) {
  add_data(options, &c.data,
           "lines with \"text\", \"prompt\" and \"completion\", \"messages\" or \"ids\"")
      .required();
  add_out(options, &c.out, "RUN", "the run folder").required();
  options.add("train.steps", &c.steps, "N", "optimizer steps").required().at_least(1);
  options.add("train.batch_size", &c.batch_size, "B", "sequences an optimizer step").at_least(1);
  options
      .add("train.micro_batch_tokens", &c.micro_batch_tokens, "T",
           "tokens computed together; changes memory and speed, not the gradient")
      .at_least(1);
  options.add("train.recompute", &c.recompute, "",
              "compute each block again in backward: less memory, more time");
  options.add("data.shuffle", &c.shuffle, "", "every epoch in an order of its own");
  options.add("optim.lr", &c.lr, "X", "peak learning rate").at_least(0);
  options.add("optim.schedule", &c.schedule, "", "how the rate changes")
      .choices({"constant", "linear", "cosine", "list"});
  options.add("optim.lr_list", &c.lr_list, "F.json", "array of rates, one a step (schedule list)");
  options.add("optim.warmup_steps", &c.warmup_steps, "W", "steps from 0 to the peak").at_least(0);
  options.add("optim.weight_decay", &c.adamw.weight_decay, "D", "on tensors of rank 2 and more")
      .at_least(0);
  options.add("optim.beta1", &c.adamw.beta1, "B", "decay of the first moment").range(0, 1).below(1);
  options.add("optim.beta2", &c.adamw.beta2, "B", "decay of the second moment")
      .range(0, 1)
      .below(1);
  options.add("optim.eps", &c.adamw.eps, "E", "added to the root").at_least(0);
  options.add("optim.max_grad_norm", &c.max_grad_norm, "C", "clip the global norm to this; 0: off")
      .at_least(0);
  options.add("checkpoint.every", &c.checkpoint_every, "K", "steps between checkpoints; 0: none")
      .at_least(0);
  options.flag("resume", &c.resume, "go on from the newest checkpoint of RUN").command_line_only();
  add_dtype(options, &c.dtype);
  add_seed(options, &c.seed);
  add_threads(options);
  add_config(options);
}

void train(const std::string& verb, const Options& options, const TrainConfig& c,
           const std::function<StartingPoint()>& start) {
  Trainer(verb, options, c, start).run();
}

}  // namespace r1::apps
