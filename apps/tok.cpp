// r1 tok encode|decode|chat: the tokenizer and chat form of a model on JSON lines.
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "apps/command.h"
#include "apps/model_input.h"
#include "apps/options.h"
#include "apps/run_folder.h"
#include "apps/terminal.h"
#include "data/chat.h"
#include "data/file.h"
#include "data/json.h"
#include "data/tokenizer.h"

namespace r1::apps {

namespace {

using json::OrderedValue;

struct Config {
  std::string model, data = "-", out, form;
  bool plain = false, skip_special = false;
};

// A tokenizer needs no weights: a folder with tokenizer.json alone will do.
Tokenizer load(const std::string& model) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (fs::is_regular_file(model, error) || fs::exists(fs::path(model) / "tokenizer.json", error))
    return Tokenizer::load(model);
  return Tokenizer::load(resolve_model_path(model));
}

// Calls `convert` for every line that is not blank and writes what it returns, line by line.
void convert_lines(
    const Config& config,
    const std::function<OrderedValue(const OrderedValue&, const std::string&)>& convert) {
  std::ifstream file;
  const bool from_stdin = config.data == "-";
  const std::string name = from_stdin ? "standard input" : config.data;
  if (!from_stdin) {
    errno = 0;
    file.open(config.data, std::ios::binary);
    R1_CHECK(file && !std::filesystem::is_directory(config.data), "{}: cannot be read: {}", name,
             std::strerror(errno != 0 ? errno : EISDIR));
  }
  std::istream& in = from_stdin ? std::cin : file;
  ResultLines out(config.out);
  std::string line;
  for (int64_t number = 1; std::getline(in, line); ++number) {
    check_stop();
    std::string_view text = line;
    if (number == 1 && text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
    if (text.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string where = fmt::format("{}: line {}", name, number);
    std::string result;
    try {
      result = convert(json::parse_ordered(text, where), where).dump();
    } catch (const Error& e) {
      // Errors of the conversion itself do not know the line.
      const std::string_view what = e.what();
      if (what.starts_with(where)) throw;
      fail("{}: {}", where, what);
    }
    out.write(result);
  }
  R1_CHECK(!in.bad(), "{}: reading failed", name);
  out.finish();
}

const OrderedValue& member(const OrderedValue& object, const char* key, const std::string& where) {
  R1_CHECK(object.is_object() && object.contains(key), "{}: expected an object with \"{}\"", where,
           key);
  return object.at(key);
}

OrderedValue encode_line(const Tokenizer& tokenizer, const Config& config, const OrderedValue& line,
                         const std::string& where) {
  const OrderedValue& text = member(line, "text", where);
  R1_CHECK(text.is_string(), "{}: text: expected a string, got {}", where, text.type_name());
  return {{"ids", tokenizer.encode(text.get_ref<const std::string&>(), !config.plain)}};
}

OrderedValue decode_line(const Tokenizer& tokenizer, const Config& config, const OrderedValue& line,
                         const std::string& where) {
  const OrderedValue& list = member(line, "ids", where);
  R1_CHECK(list.is_array(), "{}: ids: expected an array, got {}", where, list.type_name());
  std::vector<int32_t> ids;
  for (const OrderedValue& id : list) {
    R1_CHECK(id.is_number_integer(), "{}: ids[{}]: expected an integer, got {}", where, ids.size(),
             id.type_name());
    const bool fits =
        id.is_number_unsigned() ? id.get<uint64_t>() <= INT32_MAX : id.get<int64_t>() >= INT32_MIN;
    R1_CHECK(fits, "{}: ids[{}]: {} is outside the vocabulary of {} ids", where, ids.size(),
             id.dump(), tokenizer.vocab_size());
    ids.push_back(id.get<int32_t>());
  }
  return {{"text", tokenizer.decode(ids, config.skip_special)}};
}

std::shared_ptr<Config> add_common(Options& options) {
  auto config = std::make_shared<Config>();
  add_model(options, &config->model);
  add_data(options, &config->data, "input lines; - is standard input");
  add_out(options, &config->out, "G.jsonl", "output lines").default_text("standard output");
  return config;
}

void add_encode(CLI::App& family) {
  Options options(family, "encode", "", "{\"text\"} -> {\"ids\"}");
  auto config = add_common(options);
  options.flag("plain", &config->plain, "special tokens in the text are plain text");
  options.run([config] {
    const Tokenizer tokenizer = load(config->model);
    convert_lines(*config, [&](const OrderedValue& line, const std::string& where) {
      return encode_line(tokenizer, *config, line, where);
    });
  });
}

void add_decode(CLI::App& family) {
  Options options(family, "decode", "", "{\"ids\"} -> {\"text\"}");
  auto config = add_common(options);
  options.flag("skip-special", &config->skip_special, "leave special tokens out of the text");
  options.run([config] {
    const Tokenizer tokenizer = load(config->model);
    convert_lines(*config, [&](const OrderedValue& line, const std::string& where) {
      return decode_line(tokenizer, *config, line, where);
    });
  });
}

void add_chat_verb(CLI::App& family) {
  Options options(family, "chat", "",
                  "{\"messages\", \"add_generation_prompt\", \"kwargs\"} -> {\"text\"}");
  auto config = add_common(options);
  options.add("form", &config->form, "NAME", "chat form")
      .choices(ChatForm::names())
      .default_text("by the model's chat template");
  options.run([config] {
    const Tokenizer tokenizer = load(config->model);
    const ChatForm form = config->form.empty()
                              ? ChatForm::of_template(tokenizer.chat_template(), config->model)
                              : ChatForm::by_name(config->form);
    const std::string bos = tokenizer.bos_token();
    convert_lines(*config, [&](const OrderedValue& line, const std::string& where) {
      const ChatRequest request = parse_chat_request(line, where);
      return OrderedValue{{"text", form.render(request.messages, request.options, bos)}};
    });
  });
}

}  // namespace

void add_tok(CLI::App& program) {
  CLI::App& family =
      add_family(program, "tok", kModelVerbs, "text to token ids and back; chat messages to text");
  add_encode(family);
  add_decode(family);
  add_chat_verb(family);
}

}  // namespace r1::apps
