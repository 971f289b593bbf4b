#include "nn/generate.h"

#include <algorithm>
#include <cmath>

#include "tensor/random.h"

namespace r1::nn {
namespace {

constexpr std::int64_t kPrefillTokens = 1024;  // prompt tokens computed in one pass at most

// FNV-1a over the ids: names a prompt by its content, not by its place in a file.
std::uint64_t prompt_hash(std::span<const std::int32_t> ids) {
  std::uint64_t h = 14695981039346656037u;
  for (const std::int32_t id : ids) {
    for (int shift = 0; shift < 32; shift += 8) {
      h ^= (static_cast<std::uint32_t>(id) >> shift) & 0xffu;
      h *= 1099511628211u;
    }
  }
  return h;
}

// The noise stream of one prompt.
Random prompt_stream(std::uint64_t seed, std::uint64_t hash) {
  const auto w = Random(seed, Purpose::sampling)
                     .at(static_cast<std::uint32_t>(hash), static_cast<std::uint32_t>(hash >> 32));
  return Random((std::uint64_t{w[1]} << 32) | w[0], Purpose::sampling);
}

Tensor index_tensor(const std::vector<std::int32_t>& v) {
  return Tensor::from(v, {static_cast<std::int64_t>(v.size())});
}

class Generation {
 public:
  Generation(Transformer& model, std::span<const std::vector<std::int32_t>> prompts,
             const Sampling& sampling, const OnToken& on_token)
      : model_(model),
        prompts_(prompts),
        s_(sampling),
        on_token_(on_token),
        slots_(std::min(sampling.max_batch,
                        static_cast<std::int64_t>(prompts.size()) * sampling.samples)),
        cache_(model.make_cache(slots_, longest(model, prompts, sampling))) {
    for (const auto& p : prompts) streams_.push_back(prompt_stream(s_.seed, prompt_hash(p)));
    done_.resize(prompts.size() * static_cast<std::size_t>(s_.samples));
    for (std::int64_t i = slots_; i-- > 0;) free_.push_back(i);
    prompt_logits_.resize(prompts.size());
  }

  std::vector<Completion> run() {
    while (!stopped_ && (!active_.empty() || next_ < requests())) {
      admit();
      if (!active_.empty() && !stopped_) decode();
    }
    return finish();
  }

 private:
  struct Row {
    Completion completion;
    std::int64_t slot = 0;
  };

  static std::int64_t longest(const Transformer& model,
                              std::span<const std::vector<std::int32_t>> prompts,
                              const Sampling& sampling) {
    std::size_t n = 0;
    for (const auto& p : prompts) n = std::max(n, p.size());
    return std::min(static_cast<std::int64_t>(n) + sampling.max_new_tokens,
                    model.config().max_positions);
  }

  std::int64_t requests() const { return static_cast<std::int64_t>(done_.size()); }
  const std::vector<std::int32_t>& prompt(std::int64_t p) const {
    return prompts_[static_cast<std::size_t>(p)];
  }

  // Waiting requests enter free slots; prompts not computed yet are computed together.
  void admit() {
    std::vector<Row> rows;
    std::vector<std::int64_t> fresh;  // prompts to compute now
    std::int64_t tokens = 0;
    while (next_ < requests() && !free_.empty()) {
      const std::int64_t p = next_ / s_.samples;
      const bool computed = prompt_logits_[static_cast<std::size_t>(p)].defined() ||
                            (!fresh.empty() && fresh.back() == p);
      const auto length = static_cast<std::int64_t>(prompt(p).size());
      if (!computed && tokens > 0 && tokens + length > kPrefillTokens) break;
      Row row;
      row.completion.prompt = p;
      row.completion.sample = next_ % s_.samples;
      row.slot = free_.back();
      free_.pop_back();
      ++next_;
      if (!computed) {
        fresh.push_back(p);
        tokens += length;
        holders_.push_back(row.slot);
      }
      rows.push_back(std::move(row));
    }
    if (rows.empty()) return;
    if (!fresh.empty()) prefill(fresh);
    for (Row& row : rows) share_prompt(row);
    start(std::move(rows));
  }

  void prefill(const std::vector<std::int64_t>& fresh) {
    std::vector<std::int32_t> ids, positions, last;
    Tokens tokens;
    for (std::size_t i = 0; i < fresh.size(); ++i) {
      const auto& p = prompt(fresh[i]);
      tokens.cache_rows.push_back({static_cast<std::int64_t>(ids.size()),
                                   static_cast<std::int64_t>(p.size()), holders_[i], 0});
      for (std::size_t t = 0; t < p.size(); ++t) {
        positions.push_back(static_cast<std::int32_t>(t));
      }
      ids.insert(ids.end(), p.begin(), p.end());
      last.push_back(static_cast<std::int32_t>(ids.size()) - 1);
      cache_.set_length(holders_[i], static_cast<std::int64_t>(p.size()));
    }
    tokens.ids = index_tensor(ids);
    tokens.positions = index_tensor(positions);
    tokens.cache = &cache_;
    const Tensor h = model_.hidden(tokens);
    const Tensor logits = model_.logits(gather_rows(h, index_tensor(last)));
    for (std::size_t i = 0; i < fresh.size(); ++i) {
      const auto p = static_cast<std::size_t>(fresh[i]);
      prompt_logits_[p] = logits.narrow(static_cast<std::int64_t>(i), 1).clone();
    }
    holders_.clear();
  }

  // Gives a row's slot the keys and values of its prompt: they are in the slot of the sample
  // before it, whose first tokens they stay.
  void share_prompt(const Row& row) {
    const std::int64_t p = row.completion.prompt;
    const auto length = static_cast<std::int64_t>(prompt(p).size());
    if (prompt_slot_ != p) {
      prompt_slot_ = p;
      prompt_holder_ = row.slot;
    } else {
      cache_.copy_slot(prompt_holder_, row.slot, length);
      prompt_holder_ = row.slot;
    }
  }

  // First tokens, from the prompts' logits.
  void start(std::vector<Row> rows) {
    const std::int64_t V = model_.config().vocab_size;
    Tensor logits = Tensor::empty({static_cast<std::int64_t>(rows.size()), V}, model_.dtype());
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const auto p = static_cast<std::size_t>(rows[i].completion.prompt);
      logits.narrow(static_cast<std::int64_t>(i), 1).copy_from(prompt_logits_[p]);
      if (rows[i].completion.sample + 1 == s_.samples) prompt_logits_[p] = Tensor();
    }
    draw(std::move(rows), logits);
  }

  void decode() {
    std::vector<std::int32_t> ids, positions;
    Tokens tokens;
    for (std::size_t i = 0; i < active_.size(); ++i) {
      const Row& row = active_[i];
      const std::int64_t position = cache_.length(row.slot);
      ids.push_back(row.completion.ids.back());
      positions.push_back(static_cast<std::int32_t>(position));
      tokens.cache_rows.push_back({static_cast<std::int64_t>(i), 1, row.slot, position});
      cache_.set_length(row.slot, position + 1);
    }
    tokens.ids = index_tensor(ids);
    tokens.positions = index_tensor(positions);
    tokens.cache = &cache_;
    std::vector<Row> rows = std::move(active_);
    active_.clear();
    draw(std::move(rows), model_.logits(model_.hidden(tokens)));
  }

  // One token for each row; rows that go on become active.
  void draw(std::vector<Row> rows, const Tensor& logits) {
    std::vector<SampleRow> how;
    for (const Row& row : rows) {
      const Completion& c = row.completion;
      const auto position = static_cast<std::uint32_t>(c.ids.size());
      how.push_back({.temperature = s_.temperature,
                     .top_p = s_.top_p,
                     .min_p = s_.min_p,
                     .top_k = s_.top_k,
                     .uniform = streams_[static_cast<std::size_t>(c.prompt)].uniform(
                         static_cast<std::uint32_t>(c.sample), position)});
    }
    const auto B = static_cast<std::int64_t>(rows.size());
    Tensor ids = Tensor::empty({B}, DType::i32);
    Tensor logprobs = Tensor::empty({B}, stats_dtype(model_.dtype()));
    kernels(logits.device()).sample(logits, how, model_.config().vocab_size, ids, logprobs);
    const std::vector<double> values = logprobs.to_vector();
    for (std::size_t i = 0; i < rows.size(); ++i) {
      accept(std::move(rows[i]), ids.data<std::int32_t>()[i], values[i]);
    }
  }

  void accept(Row row, std::int32_t id, double logprob) {
    Completion& c = row.completion;
    c.ids.push_back(id);
    c.logprobs.push_back(logprob);
    const bool stop = std::find(s_.stop_ids.begin(), s_.stop_ids.end(), id) != s_.stop_ids.end();
    if (stop) c.finish_reason = FinishReason::stop;
    if (on_token_ && !on_token_(c)) stopped_ = true;
    const auto count = static_cast<std::int64_t>(c.ids.size());
    if (stop || count == s_.max_new_tokens || cache_.length(row.slot) == cache_.capacity()) {
      free_.push_back(row.slot);
      const auto at = static_cast<std::size_t>(c.prompt * s_.samples + c.sample);
      done_[at] = std::move(c);
    } else {
      active_.push_back(std::move(row));
    }
  }

  std::vector<Completion> finish() {
    for (Row& row : active_) {
      const Completion& c = row.completion;
      const auto at = static_cast<std::size_t>(c.prompt * s_.samples + c.sample);
      done_[at] = std::move(row.completion);
    }
    if (stopped_) std::erase_if(done_, [](const Completion& c) { return c.ids.empty(); });
    return std::move(done_);
  }

  Transformer& model_;
  std::span<const std::vector<std::int32_t>> prompts_;
  const Sampling& s_;
  const OnToken& on_token_;
  std::int64_t slots_;
  KvCache cache_;
  std::vector<Random> streams_;                        // by prompt
  std::vector<Tensor> prompt_logits_;                  // by prompt, while samples of it wait
  std::vector<Completion> done_;                       // by request
  std::vector<std::int64_t> free_;                     // slots
  std::vector<std::int64_t> holders_;                  // slots of the prompts being computed
  std::int64_t prompt_slot_ = -1, prompt_holder_ = 0;  // the last prompt and a slot that has it
  std::vector<Row> active_;
  std::int64_t next_ = 0;  // requests admitted so far
  bool stopped_ = false;
};

}  // namespace

void Sampling::check() const {
  R1_CHECK(std::isfinite(temperature) && temperature >= 0,
           "sampling: temperature {} must be 0 or more", temperature);
  R1_CHECK(top_p > 0 && top_p <= 1, "sampling: top_p {} must be in (0, 1]", top_p);
  R1_CHECK(min_p >= 0 && min_p <= 1, "sampling: min_p {} must be in [0, 1]", min_p);
  R1_CHECK(top_k >= 0, "sampling: top_k {} must be 0 (off) or more", top_k);
  R1_CHECK(max_new_tokens >= 1, "sampling: max_new_tokens {} must be 1 or more", max_new_tokens);
  R1_CHECK(samples >= 1, "sampling: n {} must be 1 or more", samples);
  R1_CHECK(max_batch >= 1, "sampling: the batch of {} must be 1 or more", max_batch);
}

double sampling_noise(std::uint64_t seed, std::span<const std::int32_t> prompt, std::int64_t sample,
                      std::int64_t position) {
  return prompt_stream(seed, prompt_hash(prompt))
      .uniform(static_cast<std::uint32_t>(sample), static_cast<std::uint32_t>(position));
}

std::vector<Completion> generate(Transformer& model,
                                 std::span<const std::vector<std::int32_t>> prompts,
                                 const Sampling& sampling, const OnToken& on_token) {
  sampling.check();
  const ModelConfig& c = model.config();
  for (std::size_t p = 0; p < prompts.size(); ++p) {
    R1_CHECK(!prompts[p].empty(), "generate: prompt {} is empty", p);
    const auto length = static_cast<std::int64_t>(prompts[p].size());
    R1_CHECK(length <= c.max_positions,
             "generate: prompt {} of {} tokens is longer than max_position_embeddings {}", p,
             length, c.max_positions);
    for (const std::int32_t id : prompts[p]) {
      R1_CHECK(id >= 0 && id < c.vocab_size,
               "generate: prompt {}: token id {} is outside the model's vocabulary of {}", p, id,
               c.vocab_size);
    }
  }
  if (prompts.empty()) return {};
  const Pause pause;
  return Generation(model, prompts, sampling, on_token).run();
}

}  // namespace r1::nn
