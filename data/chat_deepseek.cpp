// The forms of DeepSeek-V3 and DeepSeek-R1.
#include "data/chat_forms.h"
#include "data/json.h"
#include "tensor/error.h"

namespace r1::chat {

namespace {

constexpr std::string_view kUser = "<｜User｜>", kAssistant = "<｜Assistant｜>",
                           kEnd = "<｜end▁of▁sentence｜>", kThinkEnd = "</think>";

class Renderer {
 public:
  Renderer(const DeepSeekRules& rules, const Messages& messages, const ChatOptions& options,
           Writer& out)
      : rules_(rules), messages_(messages), options_(options), out_(out) {}

  void run(std::string_view bos) {
    out_.put(bos);
    out_.put(system_text());
    size_t question = messages_.size();  // the last user message
    for (size_t i = 0; i < messages_.size(); ++i)
      if (messages_[i].role == "user") question = i;
    for (size_t i = 0; i < messages_.size(); ++i) {
      const std::string& role = messages_[i].role;
      if (role == "user") {
        in_tools_ = false;
        out_.put(kUser);
        out_.put(content_of(messages_, i));
      } else if (role == "assistant") {
        messages_[i].content ? answer(i, question) : tool_calls(i);
      } else if (role == "tool") {
        tool_output(i);
      } else {
        R1_CHECK(role == "system",
                 "message {}: role \"{}\" is unknown to DeepSeek; known: system, user, assistant, "
                 "tool",
                 i, json::printable(role));
      }
    }
    if (in_tools_) out_.put("<｜tool▁outputs▁end｜>");
    if (options_.add_generation_prompt && !in_tools_) {
      out_.put(kAssistant);
      if (rules_.prefill_think) out_.put("<think>\n");
    }
  }

 private:
  std::string system_text() const {
    std::string text;
    bool first = true;
    for (size_t i = 0; i < messages_.size(); ++i) {
      if (messages_[i].role != "system") continue;
      if (!rules_.join_systems) text.clear();
      else if (!first) text += "\n\n";
      text += content_of(messages_, i);
      first = false;
    }
    return text;
  }

  void answer(size_t i, size_t question) {
    std::string_view content = *messages_[i].content;
    if (in_tools_) {
      out_.put("<｜tool▁outputs▁end｜>");
      in_tools_ = false;
    } else {
      out_.put(kAssistant);
      const bool keep = options_.keep_last_reasoning && i > question;
      const size_t close = content.rfind(kThinkEnd);
      if (rules_.cut_thoughts && !keep && close != std::string_view::npos)
        content.remove_prefix(close + kThinkEnd.size());
    }
    out_.begin_span();
    out_.put(content);
    out_.put(kEnd);
    out_.end_span();
  }

  // As published: the list of calls is opened once in a chat, and closed after each further call.
  void tool_calls(size_t i) {
    const auto& calls = messages_[i].tool_calls;
    R1_CHECK(!calls.empty(), "message {}: content is null and there are no tool_calls", i);
    in_tools_ = false;
    bool span = false;
    for (const ChatToolCall& call : calls) {
      R1_CHECK(call.arguments_string,
               "message {}: tool_calls: arguments must be a string for DeepSeek", i);
      if (!opened_) out_.put(kAssistant);
      if (!span) out_.begin_span();
      span = true;
      out_.put(opened_ ? "\n" : "<｜tool▁calls▁begin｜>");
      out_.put("<｜tool▁call▁begin｜>");
      out_.put(call.type);
      out_.put("<｜tool▁sep｜>");
      out_.put(call.name);
      out_.put("\n```json\n");
      out_.put(call.arguments);
      out_.put("\n```<｜tool▁call▁end｜>");
      if (opened_) {
        out_.put("<｜tool▁calls▁end｜>");
        out_.put(kEnd);
      }
      opened_ = true;
    }
    out_.end_span();
  }

  void tool_output(size_t i) {
    in_tools_ = true;
    out_.put(first_output_ ? "<｜tool▁outputs▁begin｜>" : "\n");
    first_output_ = false;
    out_.put("<｜tool▁output▁begin｜>");
    out_.put(content_of(messages_, i));
    out_.put("<｜tool▁output▁end｜>");
  }

  const DeepSeekRules& rules_;
  const Messages& messages_;
  const ChatOptions& options_;
  Writer& out_;
  bool in_tools_ = false, opened_ = false, first_output_ = true;
};

}  // namespace

void render_deepseek(const DeepSeekRules& rules, const Messages& messages,
                     const ChatOptions& options, std::string_view bos, Writer& out) {
  Renderer(rules, messages, options, out).run(bos);
}

}  // namespace r1::chat
