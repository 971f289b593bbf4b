// The rendering functions of the chat forms; ChatForm chooses among them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "data/chat.h"

namespace r1::chat {

// Collects the text and the spans of assistant turns.
class Writer {
 public:
  void put(std::string_view text) { out_.text += text; }
  void begin_span() { begin_ = out_.text.size(); }
  void end_span() { out_.assistant.push_back({begin_, out_.text.size()}); }
  RenderedChat take() { return std::move(out_); }

 private:
  RenderedChat out_;
  size_t begin_ = 0;
};

using Messages = std::vector<ChatMessage>;

struct ChatMlRules {
  std::string_view default_system;  // put before messages that do not begin with one; "" = none
};
void render_chatml(const ChatMlRules& rules, const Messages& messages, const ChatOptions& options,
                   Writer& out);

enum class QwenVersion {
  k25,         // Qwen2.5
  k3,          // Qwen3: think blocks, kept in the turns after the last question only
  k3Instruct,  // Qwen3 of July 2025 without think blocks
};
struct QwenRules {
  QwenVersion version = QwenVersion::k25;
  std::string_view default_system;  // as above
};
void render_qwen(const QwenRules& rules, const Messages& messages, const ChatOptions& options,
                 Writer& out);

struct DeepSeekRules {
  bool join_systems = false;   // else the last system message counts
  bool cut_thoughts = false;   // earlier turns lose everything up to </think>
  bool prefill_think = false;  // the generation prompt opens the think block
};
void render_deepseek(const DeepSeekRules& rules, const Messages& messages,
                     const ChatOptions& options, std::string_view bos, Writer& out);

struct Llama3Rules {
  bool always_prompt = false;  // the generation prompt is not optional
  bool dated = false;          // a system turn with the date comes first
  std::string_view date;       // of the dated header; "" = today
};
void render_llama3(const Llama3Rules& rules, const Messages& messages, const ChatOptions& options,
                   std::string_view bos, Writer& out);

// The content of message i; throws Error if it is null.
const std::string& content_of(const Messages& messages, size_t i);

}  // namespace r1::chat
