#include "data/chat.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "data/chat_forms.h"
#include "data/json.h"
#include "tensor/error.h"

namespace r1 {

const char* const kChatMlTemplate =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] "
    "+ "
    "'<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ "
    "'<|im_start|>assistant\\n' }}{% endif %}";

namespace {

using json::OrderedValue;

enum class Family { kChatMl, kQwen, kDeepSeek, kLlama3 };

struct Form {
  const char* name;
  Family family;
  const char* turn_end;
  chat::ChatMlRules chatml{};
  chat::QwenRules qwen{};
  chat::DeepSeekRules deepseek{};
  chat::Llama3Rules llama3{};
};

constexpr const char* kSmolLm2System =
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face";
constexpr const char* kQwen25System =
    "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.";
constexpr const char* kQwen25MathSystem =
    "Please reason step by step, and put your final answer within \\boxed{}.";

const std::vector<Form>& forms() {
  using chat::QwenVersion;
  static constexpr const char* kImEnd = "<|im_end|>";
  static constexpr const char* kEot = "<|eot_id|>";
  static constexpr const char* kDeepSeekEnd = "<｜end▁of▁sentence｜>";
  static const std::vector<Form> list = [] {
    const auto qwen = [](const char* name, QwenVersion version, const char* system) {
      return Form{name, Family::kQwen, kImEnd, {}, {version, system}, {}, {}};
    };
    const auto deepseek = [](const char* name, const chat::DeepSeekRules& rules) {
      return Form{name, Family::kDeepSeek, kDeepSeekEnd, {}, {}, rules, {}};
    };
    const auto llama3 = [](const char* name, const chat::Llama3Rules& rules) {
      return Form{name, Family::kLlama3, kEot, {}, {}, {}, rules};
    };
    return std::vector<Form>{
        {"chatml", Family::kChatMl, kImEnd, {""}, {}, {}, {}},
        {"smollm2", Family::kChatMl, kImEnd, {kSmolLm2System}, {}, {}, {}},
        qwen("qwen2.5", QwenVersion::k25, kQwen25System),
        qwen("qwen2.5-math", QwenVersion::k25, kQwen25MathSystem),
        qwen("qwen3", QwenVersion::k3, ""),
        qwen("qwen3-instruct", QwenVersion::k3Instruct, ""),
        deepseek("deepseek-v3", {true, false, false}),
        deepseek("deepseek-r1", {false, true, true}),
        deepseek("deepseek-r1-unfilled", {false, true, false}),
        llama3("llama3", {}),
        llama3("llama3-prompting", {true, false, ""}),
        llama3("llama3.1", {false, true, "26 Jul 2024"}),
        llama3("llama3.2", {false, true, ""}),
    };
  }();
  return list;
}

// Hash of the text of a published template: FNV-1a of its bytes without the white space at the end
// and with \n for \r\n.
struct KnownTemplate {
  uint64_t hash;
  const char* form;
};

constexpr std::array<KnownTemplate, 17> kKnownTemplates = {{
    {0x88bf4138d5c826f0u, "chatml"},
    {0xa41d6bae9b9141bcu, "chatml"},
    {0x45ec583d4d25bc3au, "smollm2"},
    {0xe642ce246d7f2e3du, "qwen2.5"},
    {0xfbed2ee177a43d8du, "qwen2.5-math"},
    {0x2bfdb7aa9754484eu, "qwen3"},
    {0x959a4551391a6549u, "qwen3"},
    {0x3751fe8ea48448abu, "qwen3-instruct"},
    {0xebe3604156dc466au, "deepseek-v3"},
    {0x845fdf813c637ee2u, "deepseek-r1"},
    {0xd4a6473b30dd5ddau, "deepseek-r1"},
    {0x9c0722939a9b83ecu, "deepseek-r1-unfilled"},
    {0x5573c886c0fd52f6u, "deepseek-r1-unfilled"},
    {0x0e60067a5537498eu, "llama3"},
    {0x74891e390e614ae2u, "llama3-prompting"},
    {0xcc0368e1ffb6b958u, "llama3.1"},
    {0x368f4c34b8554414u, "llama3.2"},
}};

uint64_t template_hash(std::string_view text) {
  text = text.substr(0, text.find_last_not_of(" \t\r\n") + 1);
  uint64_t hash = 0xcbf29ce484222325u;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text.substr(i, 2) == "\r\n") continue;
    hash = (hash ^ static_cast<uint8_t>(text[i])) * 0x100000001b3u;
  }
  return hash;
}

std::string list_of_names() {
  std::string list;
  for (const Form& form : forms()) list += (list.empty() ? "" : ", ") + std::string(form.name);
  return list;
}

int find_form(std::string_view name) {
  for (size_t i = 0; i < forms().size(); ++i)
    if (forms()[i].name == name) return static_cast<int>(i);
  return -1;
}

const char* type_of(const OrderedValue& value) {
  if (value.is_number()) return "number";
  return value.type_name();
}

const OrderedValue* find(const OrderedValue& object, const char* key) {
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

std::string string_at(const OrderedValue& object, const char* key, const std::string& where) {
  R1_CHECK(object.is_object(), "{}: expected an object, got {}", where, type_of(object));
  const OrderedValue* value = find(object, key);
  R1_CHECK(value != nullptr, "{}: {} is missing", where, key);
  R1_CHECK(value->is_string(), "{}: {}: expected a string, got {}", where, key, type_of(*value));
  return value->get<std::string>();
}

bool bool_of(const OrderedValue& value, const char* key, const std::string& where) {
  R1_CHECK(value.is_boolean(), "{}: {}: expected true or false, got {}", where, key,
           type_of(value));
  return value.get<bool>();
}

// As Python's json.dumps(value, ensure_ascii=False), which the templates' tojson filter is.
// Values come from the bounded parser, so the recursion is at most 64 deep.
void dump_python(const OrderedValue& value, std::string& out) {
  if (value.is_object()) {
    out += '{';
    for (auto it = value.begin(); it != value.end(); ++it) {
      if (it != value.begin()) out += ", ";
      out += OrderedValue(it.key()).dump() + ": ";
      dump_python(it.value(), out);
    }
    out += '}';
  } else if (value.is_array()) {
    out += '[';
    for (size_t i = 0; i < value.size(); ++i) {
      if (i > 0) out += ", ";
      dump_python(value[i], out);
    }
    out += ']';
  } else {
    out += value.dump();
  }
}

ChatToolCall parse_tool_call(const OrderedValue& item, const std::string& where) {
  R1_CHECK(item.is_object(), "{}: expected an object, got {}", where, type_of(item));
  ChatToolCall call;
  if (find(item, "type") != nullptr) call.type = string_at(item, "type", where);
  const OrderedValue* function = find(item, "function");
  const OrderedValue& inner = function != nullptr ? *function : item;
  call.name = string_at(inner, "name", where);
  const OrderedValue* arguments = find(inner, "arguments");
  R1_CHECK(arguments != nullptr, "{}: arguments is missing", where);
  call.arguments_string = arguments->is_string();
  if (call.arguments_string) call.arguments = arguments->get<std::string>();
  else dump_python(*arguments, call.arguments);
  return call;
}

ChatMessage parse_message(const OrderedValue& item, const std::string& where) {
  ChatMessage message;
  message.role = string_at(item, "role", where);
  R1_CHECK(!message.role.empty(), "{}: role is empty", where);
  R1_CHECK(item.contains("content") || item.contains("tool_calls"), "{}: content is missing",
           where);
  if (find(item, "content") != nullptr) message.content = string_at(item, "content", where);
  if (find(item, "reasoning_content") != nullptr)
    message.reasoning_content = string_at(item, "reasoning_content", where);
  if (const OrderedValue* calls = find(item, "tool_calls")) {
    R1_CHECK(calls->is_array(), "{}: tool_calls: expected an array, got {}", where,
             type_of(*calls));
    for (const OrderedValue& call : *calls)
      message.tool_calls.push_back(parse_tool_call(call, where + ": tool_calls"));
  }
  return message;
}

bool read_option(const std::string& key, const OrderedValue& value, const std::string& where,
                 ChatOptions& options) {
  if (key == "add_generation_prompt") {
    options.add_generation_prompt = !value.is_null() && bool_of(value, key.c_str(), where);
  } else if (key == "enable_thinking") {
    if (!value.is_null()) options.enable_thinking = bool_of(value, key.c_str(), where);
  } else if (key == "date_string") {
    R1_CHECK(value.is_string(), "{}: date_string: expected a string, got {}", where,
             type_of(value));
    options.date_string = value.get<std::string>();
  } else if (key == "tools") {
    if (value.is_null()) return true;
    R1_CHECK(value.is_array(), "{}: tools: expected an array, got {}", where, type_of(value));
    options.tools.emplace();
    for (const OrderedValue& tool : value) dump_python(tool, options.tools->emplace_back());
  } else {
    return false;
  }
  return true;
}

}  // namespace

namespace chat {

const std::string& content_of(const Messages& messages, size_t i) {
  R1_CHECK(messages[i].content.has_value(), "message {}: content is null, this form needs text", i);
  return *messages[i].content;
}

}  // namespace chat

ChatRequest parse_chat_request(const OrderedValue& object, const std::string& where) {
  R1_CHECK(object.is_object(), "{}: expected an object, got {}", where, type_of(object));
  ChatRequest request;
  const OrderedValue* messages = find(object, "messages");
  R1_CHECK(messages != nullptr, "{}: messages is missing", where);
  R1_CHECK(messages->is_array(), "{}: messages: expected an array, got {}", where,
           type_of(*messages));
  for (const OrderedValue& item : *messages)
    request.messages.push_back(
        parse_message(item, fmt::format("{}: message {}", where, request.messages.size())));
  for (auto it = object.begin(); it != object.end(); ++it)
    read_option(it.key(), it.value(), where, request.options);
  if (const OrderedValue* kwargs = find(object, "kwargs")) {
    R1_CHECK(kwargs->is_object(), "{}: kwargs: expected an object, got {}", where,
             type_of(*kwargs));
    for (auto it = kwargs->begin(); it != kwargs->end(); ++it)
      R1_CHECK(read_option(it.key(), it.value(), where, request.options),
               "{}: kwargs: \"{}\" is not known; known: add_generation_prompt, enable_thinking, "
               "date_string, tools",
               where, json::printable(it.key()));
  }
  return request;
}

ChatForm ChatForm::by_name(std::string_view name) {
  const int index = find_form(name);
  R1_CHECK(index >= 0, "chat form \"{}\" is not known; known: {}", json::printable(name),
           list_of_names());
  return ChatForm(index);
}

ChatForm ChatForm::of_template(std::string_view chat_template, const std::string& where) {
  R1_CHECK(!chat_template.empty(), "{}: there is no chat template; name one of the forms: {}",
           where, list_of_names());
  const uint64_t hash = template_hash(chat_template);
  for (const KnownTemplate& known : kKnownTemplates)
    if (known.hash == hash) return by_name(known.form);
  fail("{}: the chat template is none of the known ones; name the form that fits: {}", where,
       list_of_names());
}

std::vector<std::string> ChatForm::names() {
  std::vector<std::string> list;
  for (const Form& form : forms()) list.emplace_back(form.name);
  return list;
}

std::string_view ChatForm::name() const { return forms()[static_cast<size_t>(index_)].name; }

std::string_view ChatForm::turn_end() const {
  return forms()[static_cast<size_t>(index_)].turn_end;
}

RenderedChat ChatForm::render_with_spans(const std::vector<ChatMessage>& messages,
                                         const ChatOptions& options, std::string_view bos) const {
  R1_CHECK(!messages.empty(), "chat: there are no messages");
  const Form& form = forms()[static_cast<size_t>(index_)];
  chat::Writer out;
  switch (form.family) {
    case Family::kChatMl:
      chat::render_chatml(form.chatml, messages, options, out);
      break;
    case Family::kQwen:
      chat::render_qwen(form.qwen, messages, options, out);
      break;
    case Family::kDeepSeek:
      chat::render_deepseek(form.deepseek, messages, options, bos, out);
      break;
    case Family::kLlama3:
      chat::render_llama3(form.llama3, messages, options, bos, out);
      break;
  }
  return out.take();
}

EncodedChat encode_chat(const Tokenizer& tokenizer, const RenderedChat& chat) {
  EncodedChat out;
  const auto append = [&](size_t begin, size_t end, bool trained) {
    const auto ids = tokenizer.encode(std::string_view(chat.text).substr(begin, end - begin));
    out.ids.insert(out.ids.end(), ids.begin(), ids.end());
    out.trained.resize(out.ids.size(), trained ? 1 : 0);
  };
  size_t done = 0;
  for (const ChatSpan& span : chat.assistant) {
    append(done, span.begin, false);
    append(span.begin, span.end, true);
    done = span.end;
  }
  append(done, chat.text.size(), false);
  return out;
}

}  // namespace r1
