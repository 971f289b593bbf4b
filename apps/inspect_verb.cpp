// `r1 inspect`: what a model or a file of tensors holds.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>

#include "apps/command.h"
#include "apps/inspect.h"
#include "apps/options.h"
#include "apps/run_folder.h"
#include "apps/terminal.h"
#include "data/json.h"
#include "data/utf8.h"

namespace r1::apps {
namespace {

using nlohmann::ordered_json;

constexpr const char* kExpected =
    "expected a Hugging Face folder, a run folder, a .gguf, .safetensors or config.json file";

// For a terminal: no control characters of a file reach it.
std::string safe(const std::string& text, std::size_t max_bytes = 200) {
  return json::printable(text, max_bytes);
}

void row(std::string_view name, const std::string& value) {
  write_line(fmt::format("{:<14} {}", name, value));
}

std::string count_text(std::uint64_t n) { return format_count(static_cast<std::int64_t>(n)); }

std::string shape_text(const TensorRow& t) { return fmt::format("({})", fmt::join(t.shape, ", ")); }

// "rotary base 10,000, llama3 scaling by 8"
std::string rope_text(const nn::RopeConfig& rope) {
  std::string text = "rotary base " + format_count(std::llround(rope.theta));
  if (rope.type != "default") text += fmt::format(", {} scaling by {:g}", rope.type, rope.factor);
  if (!rope.factors.empty()) text += ", frequency factors of the file";
  return text;
}

void print_config(const nn::ModelConfig& c) {
  row("architecture", fmt::format("{}: {} layers, width {}, feed-forward {}", c.model_type,
                                  c.layers, c.hidden_size, c.intermediate_size));
  std::string extras;
  if (c.qkv_bias) extras += ", biases on q, k and v";
  if (c.o_bias) extras += ", bias on the output";
  if (c.qk_norm) extras += ", norms on q and k";
  row("attention", fmt::format("{} query heads, {} key/value heads of {}{}; {}", c.heads,
                               c.kv_heads, c.head_dim, extras, rope_text(c.rope)));
  row("vocabulary", fmt::format("{} tokens, head {}", format_count(c.vocab_size),
                                c.tied ? "tied to the embedding" : "of its own"));
  row("context", fmt::format("{} tokens", format_count(c.max_positions)));
}

void print_counts(const ParameterCounts& counts) {
  row("parameters", fmt::format("{} ({})", format_count(counts.total),
                                format_si(static_cast<double>(counts.total))));
  const auto part = [&](const char* name, std::int64_t n) {
    if (n == 0) return;
    write_line(fmt::format("  {:<12} {:>16} {:>5.1f} %", name, format_count(n),
                           100.0 * static_cast<double>(n) / static_cast<double>(counts.total)));
  };
  part("embedding", counts.embedding);
  part("attention", counts.attention);
  part("feed-forward", counts.feed_forward);
  part("norms", counts.norms);
  part("head", counts.head);
}

void print_tensors(const Inspection& x) {
  std::size_t name_width = 4, shape_width = 5;
  std::uint64_t elements = 0, bytes = 0;
  for (const TensorRow& t : x.tensors) {
    name_width = std::max(name_width, safe(t.name).size());
    shape_width = std::max(shape_width, shape_text(t).size());
    elements += t.numel();
    bytes += t.bytes;
  }
  row("tensors", fmt::format("{}: {} elements, {}", x.tensors.size(), count_text(elements),
                             format_bytes(static_cast<double>(bytes))));
  if (x.tensors.empty()) return;
  write_line(fmt::format("\n{:<{}}  {:<7}  {:<{}}  {:>15}", "name", name_width, "dtype", "shape",
                         shape_width, "bytes"));
  for (const TensorRow& t : x.tensors) {
    write_line(fmt::format("{:<{}}  {:<7}  {:<{}}  {:>15}", safe(t.name), name_width, t.dtype,
                           shape_text(t), shape_width, count_text(t.bytes)));
  }
}

void print_text(const Inspection& x) {
  row("path", safe(x.path, 1000));
  row("kind", x.kind);
  if (x.config) print_config(*x.config);
  else row("model", "none (" + safe(x.no_config) + ")");
  if (x.counts) print_counts(*x.counts);
  if (!x.metadata.empty()) {
    write_line("metadata");
    for (const auto& [key, value] : x.metadata.items()) {
      const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
      write_line(fmt::format("  {} = {}", safe(key), safe(text, 100)));
    }
  }
  if (x.has_weights) print_tensors(x);
  else row("tensors", "none, a model without weights");
  for (const std::string& problem : x.problems) row("problem", safe(problem));
}

ordered_json config_json(const nn::ModelConfig& c) {
  return {{"model_type", c.model_type},
          {"num_hidden_layers", c.layers},
          {"hidden_size", c.hidden_size},
          {"intermediate_size", c.intermediate_size},
          {"num_attention_heads", c.heads},
          {"num_key_value_heads", c.kv_heads},
          {"head_dim", c.head_dim},
          {"vocab_size", c.vocab_size},
          {"max_position_embeddings", c.max_positions},
          {"rms_norm_eps", c.rms_norm_eps},
          {"rope_theta", c.rope.theta},
          {"rope_type", c.rope.type},
          {"tie_word_embeddings", c.tied},
          {"bos_token_id", c.bos_ids},
          {"eos_token_id", c.eos_ids}};
}

ordered_json to_json(const Inspection& x) {
  ordered_json out = {{"path", utf8_replace_invalid(x.path)}, {"kind", x.kind}};
  out["config"] = x.config ? config_json(*x.config) : ordered_json();
  if (x.counts) {
    out["parameters"] = {
        {"total", x.counts->total},         {"embedding", x.counts->embedding},
        {"attention", x.counts->attention}, {"feed_forward", x.counts->feed_forward},
        {"norms", x.counts->norms},         {"head", x.counts->head}};
  }
  out["metadata"] = x.metadata;
  out["tensors"] = ordered_json::array();
  for (const TensorRow& t : x.tensors) {
    out["tensors"].push_back(
        {{"name", t.name}, {"dtype", t.dtype}, {"shape", t.shape}, {"bytes", t.bytes}});
  }
  out["problems"] = x.problems;
  return out;
}

void run_inspect(const std::string& argument, bool as_json) {
  namespace fs = std::filesystem;
  R1_CHECK(fs::exists(argument), "{}: no such file or folder, {}", argument, kExpected);
  const bool is_file = argument.ends_with(".safetensors") || argument.ends_with(".json");
  R1_CHECK(is_file || fs::is_directory(argument) || argument.ends_with(".gguf"),
           "{}: unknown kind of file, {}", argument, kExpected);
  const Inspection x = inspect(is_file ? argument : resolve_model_path(argument));
  if (as_json) write_line(to_json(x).dump());
  else print_text(x);
  if (x.problems.empty()) return;
  flush_out();
  fail("{}: {} tensors do not fit the configuration, the first: {}", x.path, x.problems.size(),
       x.problems[0]);
}

}  // namespace

void add_inspect(CLI::App& program) {
  struct Config {
    std::string path;
    bool json = false;
  };
  auto c = std::make_shared<Config>();
  Options options(program, "inspect", kModelVerbs,
                  "configuration, parameter counts and tensors of a model or file");
  options
      .positional("M", &c->path,
                  "Hugging Face folder, run folder, .gguf, .safetensors or config.json file")
      .required();
  add_json(options, &c->json);
  options.run([c] { run_inspect(c->path, c->json); });
}

}  // namespace r1::apps
