// ChatML and the forms of Qwen2.5 and Qwen3.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "data/chat_forms.h"
#include "data/json.h"
#include "tensor/error.h"

namespace r1::chat {

namespace {

constexpr std::string_view kStart = "<|im_start|>", kEnd = "<|im_end|>";

std::string_view strip_newlines_left(std::string_view s) {
  s.remove_prefix(std::min(s.find_first_not_of('\n'), s.size()));
  return s;
}
std::string_view strip_newlines_right(std::string_view s) {
  return s.substr(0, s.find_last_not_of('\n') + 1);
}

void put_turn(Writer& out, std::string_view role, std::string_view content) {
  out.put(kStart);
  out.put(role);
  out.put("\n");
  if (role == "assistant") out.begin_span();
  out.put(content);
  out.put(kEnd);
  if (role == "assistant") out.end_span();
  out.put("\n");
}

void put_tools(const QwenRules& rules, const Messages& messages,
               const std::vector<std::string>& tools, Writer& out) {
  out.put("<|im_start|>system\n");
  if (messages[0].role == "system") {
    out.put(content_of(messages, 0));
    out.put("\n\n");
  } else if (!rules.default_system.empty()) {
    out.put(rules.default_system);
    out.put("\n\n");
  }
  out.put(
      "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are "
      "provided with function signatures within <tools></tools> XML tags:\n<tools>");
  for (const std::string& tool : tools) {
    out.put("\n");
    out.put(tool);
  }
  out.put(
      "\n</tools>\n\nFor each function call, return a json object with function name and "
      "arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": "
      "<function-name>, \"arguments\": <args-json-object>}\n</tool_call><|im_end|>\n");
}

void put_tool_calls(const QwenRules& rules, const ChatMessage& message, bool newline_first,
                    Writer& out) {
  for (const ChatToolCall& call : message.tool_calls) {
    if (newline_first) out.put("\n");
    newline_first = true;
    out.put("<tool_call>\n{\"name\": \"");
    out.put(call.name);
    out.put("\", \"arguments\": ");
    // Qwen2.5 writes arguments given as a string as a JSON string.
    if (call.arguments_string && rules.version == QwenVersion::k25)
      out.put(json::dump(call.arguments, "tool_calls"));
    else out.put(call.arguments);
    out.put("}\n</tool_call>");
  }
}

void put_tool_result(const Messages& messages, size_t i, Writer& out) {
  if (i == 0 || messages[i - 1].role != "tool") out.put("<|im_start|>user");
  out.put("\n<tool_response>\n");
  out.put(content_of(messages, i));
  out.put("\n</tool_response>");
  if (i + 1 == messages.size() || messages[i + 1].role != "tool") out.put("<|im_end|>\n");
}

// The last user message that is no tool result; without one, the last message.
size_t last_question(const Messages& messages) {
  for (size_t i = messages.size(); i-- > 0;) {
    if (messages[i].role != "user") continue;
    const std::string_view content = content_of(messages, i);
    if (!(content.starts_with("<tool_response>") && content.ends_with("</tool_response>")))
      return i;
  }
  return messages.size() - 1;
}

struct Turn {
  std::string_view reasoning, content;
};

// The think block and the answer: apart in the message, or one text.
Turn split_reasoning(const ChatMessage& message, std::string_view content) {
  if (message.reasoning_content) return {*message.reasoning_content, content};
  const size_t close = content.rfind("</think>");
  if (close == std::string_view::npos) return {"", content};
  std::string_view reasoning = strip_newlines_right(content.substr(0, content.find("</think>")));
  if (const size_t open = reasoning.rfind("<think>"); open != std::string_view::npos)
    reasoning.remove_prefix(open + 7);
  return {strip_newlines_left(reasoning), strip_newlines_left(content.substr(close + 8))};
}

void put_assistant(const QwenRules& rules, const Messages& messages, size_t i, size_t question,
                   Writer& out) {
  const ChatMessage& message = messages[i];
  const bool calls = !message.tool_calls.empty();
  const std::string_view content =
      calls && !message.content ? std::string_view() : content_of(messages, i);
  out.put("<|im_start|>assistant");
  // Qwen2.5 leaves out an empty content before tool calls, its newline too.
  const bool newline = rules.version != QwenVersion::k25 || !calls || !content.empty();
  if (newline) out.put("\n");
  out.begin_span();
  Turn turn{"", content};
  if (rules.version == QwenVersion::k3) turn = split_reasoning(message, content);
  if (rules.version == QwenVersion::k3 && i > question &&
      (i + 1 == messages.size() || !turn.reasoning.empty())) {
    out.put("<think>\n");
    out.put(strip_newlines_left(strip_newlines_right(turn.reasoning)));
    out.put("\n</think>\n\n");
    out.put(strip_newlines_left(turn.content));
  } else {
    out.put(turn.content);
  }
  put_tool_calls(rules, message, rules.version == QwenVersion::k25 || !turn.content.empty(), out);
  out.put(kEnd);
  out.end_span();
  out.put("\n");
}

}  // namespace

void render_chatml(const ChatMlRules& rules, const Messages& messages, const ChatOptions& options,
                   Writer& out) {
  if (!rules.default_system.empty() && messages[0].role != "system")
    put_turn(out, "system", rules.default_system);
  for (size_t i = 0; i < messages.size(); ++i)
    put_turn(out, messages[i].role, content_of(messages, i));
  if (options.add_generation_prompt) out.put("<|im_start|>assistant\n");
}

void render_qwen(const QwenRules& rules, const Messages& messages, const ChatOptions& options,
                 Writer& out) {
  const bool has_system = messages[0].role == "system";
  if (options.tools && !options.tools->empty()) {
    put_tools(rules, messages, *options.tools, out);
  } else if (has_system) {
    put_turn(out, "system", content_of(messages, 0));
  } else if (!rules.default_system.empty()) {
    put_turn(out, "system", rules.default_system);
  }
  const bool thinking = rules.version == QwenVersion::k3;
  const size_t question = thinking ? last_question(messages) : 0;
  for (size_t i = has_system ? 1 : 0; i < messages.size(); ++i) {
    const std::string& role = messages[i].role;
    if (role == "user" || role == "system") put_turn(out, role, content_of(messages, i));
    else if (role == "assistant") put_assistant(rules, messages, i, question, out);
    else if (role == "tool") put_tool_result(messages, i, out);
    else
      fail("message {}: role \"{}\" is unknown to Qwen; known: system, user, assistant, tool", i,
           json::printable(role));
  }
  if (!options.add_generation_prompt) return;
  out.put("<|im_start|>assistant\n");
  if (thinking && options.enable_thinking == false) out.put("<think>\n\n</think>\n\n");
}

}  // namespace r1::chat
