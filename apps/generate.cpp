// r1 generate: text from a model.
#include <CLI/CLI.hpp>
#include <chrono>

#include "apps/model_input.h"
#include "apps/options.h"
#include "apps/terminal.h"
#include "data/chat.h"
#include "nn/generate.h"

namespace r1::apps {
namespace {

constexpr std::size_t kPromptsAtOnce = 256;

struct GenerateConfig {
  std::string model, prompt, data, out;
  bool chat = false, ignore_eos = false, json = false;
  nn::Sampling sampling;
  DType dtype = DType::f32;
};

class Generator {
 public:
  explicit Generator(const GenerateConfig& c)
      : c_(c), m_(open_model(c.model, c.dtype)), sampling_(c.sampling), out_(c.out) {
    if (m_.tokenizer && !m_.tokenizer->chat_template().empty() && (c.chat || c.prompt.empty())) {
      template_ = m_.tokenizer->chat_template();
    }
    if (!c.ignore_eos) sampling_.stop_ids = m_.source.stop_ids();
  }

  void run() {
    read_prompts();
    const auto start = std::chrono::steady_clock::now();
    for (std::size_t i = 0; i < prompts_.size() && !interrupted_; i += kPromptsAtOnce) {
      run_part(i, std::min(kPromptsAtOnce, prompts_.size() - i));
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    out_.finish();
    flush_out();
    write_note(fmt::format("{} tokens in {} ({} tokens/s, prompts included)", format_count(tokens_),
                           format_duration(seconds.count()),
                           format_si(static_cast<double>(tokens_) / seconds.count())));
    if (interrupted_) throw Interrupted(stop_requested(), "");
  }

 private:
  void read_prompts() {
    if (c_.data.empty()) {
      const std::string where = "--prompt";
      prompts_.push_back(text_prompt(c_.prompt, where));
      return;
    }
    for (const JsonLine& line : read_jsonl(c_.data)) {
      const std::string where = line_name(c_.data, line);
      const json::Value& v = line.value;
      if (v.contains("ids")) {
        prompts_.push_back(get_ids(v, "ids", where));
      } else if (v.contains("messages")) {
        ChatRequest request = parse_chat_request(v, where);
        request.options.add_generation_prompt = true;
        prompts_.push_back(chat_prompt(request, where));
      } else {
        const char* key = v.contains("prompt") ? "prompt" : "text";
        R1_CHECK(v.contains(key), "{}: expected \"ids\", \"messages\", \"prompt\" or \"text\"",
                 where);
        prompts_.push_back(text_prompt(json::get_string(v, key, where), where));
      }
      R1_CHECK(!prompts_.back().empty(), "{}: the prompt is empty", where);
    }
  }

  std::vector<std::int32_t> text_prompt(const std::string& text, const std::string& where) {
    const Tokenizer& tokenizer = need_tokenizer(m_, where);
    if (c_.chat) {
      ChatRequest request;
      ChatMessage message;
      message.role = "user";
      message.content = text;
      request.messages.push_back(std::move(message));
      request.options.add_generation_prompt = true;
      return chat_prompt(request, where);
    }
    std::vector<std::int32_t> ids = tokenizer.prefix_ids();
    const std::vector<std::int32_t> body = tokenizer.encode(text);
    ids.insert(ids.end(), body.begin(), body.end());
    R1_CHECK(!ids.empty(), "{}: the prompt is empty", where);
    return ids;
  }

  std::vector<std::int32_t> chat_prompt(const ChatRequest& request, const std::string& where) {
    const Tokenizer& tokenizer = need_tokenizer(m_, where);
    R1_CHECK(!template_.empty(), "{}: {} has no chat template", where, m_.source.where());
    const ChatForm form = ChatForm::of_template(template_, m_.source.where());
    if (const auto end = tokenizer.token_to_id(form.turn_end()); end && !c_.ignore_eos) {
      auto& stops = sampling_.stop_ids;
      if (std::find(stops.begin(), stops.end(), *end) == stops.end()) stops.push_back(*end);
    }
    return tokenizer.encode(form.render(request.messages, request.options, tokenizer.bos_token()));
  }

  void run_part(std::size_t begin, std::size_t count) {
    const auto part = std::span(prompts_).subspan(begin, count);
    const bool stream = !c_.json && c_.out.empty() && stdout_is_terminal() && m_.tokenizer &&
                        prompts_.size() == 1 && sampling_.samples == 1;
    std::optional<StreamDecoder> decoder;
    if (stream) decoder.emplace(*m_.tokenizer, true);
    Progress progress(
        "token", sampling_.max_new_tokens * sampling_.samples * static_cast<std::int64_t>(count),
        "tokens");
    std::int64_t drawn = 0;
    const auto completions = nn::generate(*m_.model, part, sampling_, [&](const auto& c) {
      ++drawn;
      if (stream) {
        write_out(decoder->feed(c.ids.back()));
        flush_out();
      } else if (drawn % 64 == 0) {
        progress.update(drawn, 64);
      }
      interrupted_ = stop_requested() != 0;
      return !interrupted_;
    });
    tokens_ += drawn;
    if (stream) write_out(decoder->flush() + "\n");
    for (const nn::Completion& c : completions) {
      if (c_.json) out_.write(json_line(c, static_cast<std::int64_t>(begin) + c.prompt));
      else if (!stream) out_.write(text_of(c, true));
    }
  }

  std::string text_of(const nn::Completion& c, bool skip_special) const {
    if (m_.tokenizer) return m_.tokenizer->decode(c.ids, skip_special);
    return fmt::format("{}", fmt::join(c.ids, " "));
  }

  std::string json_line(const nn::Completion& c, std::int64_t index) const {
    std::string s = fmt::format("{{\"index\":{},\"sample\":{},\"ids\":[{}],", index, c.sample,
                                fmt::join(c.ids, ","));
    if (m_.tokenizer) s += "\"text\":" + json::dump(text_of(c, true), "text") + ",";
    return s + fmt::format("\"logprobs\":{},\"finish_reason\":\"{}\"}}",
                           number_list(c.logprobs, c_.dtype),
                           c.finish_reason == nn::FinishReason::stop ? "stop" : "length");
  }

  const GenerateConfig& c_;
  OpenModel m_;
  nn::Sampling sampling_;
  ResultLines out_;
  std::string template_;
  std::vector<std::vector<std::int32_t>> prompts_;
  std::int64_t tokens_ = 0;
  bool interrupted_ = false;
};

void run_generate(const GenerateConfig& c) {
  if (c.prompt.empty() == c.data.empty()) {
    throw UsageError("give either --prompt TEXT or --data F.jsonl");
  }
  try {
    c.sampling.check();
  } catch (const Error& e) {
    throw UsageError(e.what());
  }
  Generator(c).run();
}

}  // namespace

void add_generate(CLI::App& program) {
  auto c = std::make_shared<GenerateConfig>();
  nn::Sampling& s = c->sampling;
  Options options(program, "generate", kModelVerbs, "text from a model");
  add_model(options, &c->model);
  options.add("prompt", &c->prompt, "TEXT", "what the model continues");
  add_data(options, &c->data, "prompts: lines with \"text\", \"prompt\", \"messages\" or \"ids\"");
  add_out(options, &c->out, "G.jsonl", "completions; default: stdout");
  options.flag("chat", &c->chat, "the prompt is a user's message: use the model's chat form");
  options.add("max-new-tokens", &s.max_new_tokens, "N", "tokens of a completion at most")
      .at_least(1);
  options.add("temperature", &s.temperature, "T", "0: greedy").at_least(0);
  options.add("top-p", &s.top_p, "P", "most probable tokens that reach this sum; 1: off")
      .range(0, 1)
      .above(0);
  options.add("top-k", &s.top_k, "K", "most probable tokens; 0: off").at_least(0);
  options.add("min-p", &s.min_p, "Q", "at least this share of the best token; 0: off").range(0, 1);
  options.add("n", &s.samples, "G", "completions of each prompt").at_least(1);
  options.add("batch", &s.max_batch, "N", "completions computed together").at_least(1);
  add_seed(options, &s.seed);
  options.flag("ignore-eos", &c->ignore_eos, "go on after a token that ends the text");
  add_json(options, &c->json);
  add_dtype(options, &c->dtype);
  add_threads(options);
  options.epilog(
      "With --json one object a completion: index (line of the data, from 0), sample, ids, text, "
      "logprobs, finish_reason (stop or length).\n"
      "Example: r1 generate --model models/SmolLM2-135M-Instruct.Q4_1.gguf --chat --prompt "
      "\"Why is the sky blue?\"");
  options.run([c] { run_generate(*c); });
}

}  // namespace r1::apps
