// Chat forms: how a list of messages becomes the text a model was trained on. Published models
// carry a template program for this; here each known form is a function, chosen by the template's
// text, so no template of a model file is ever executed. Sources: the published templates of
// SmolLM2, Qwen2.5, Qwen3, DeepSeek-V3, DeepSeek-R1, Llama 3, 3.1 and 3.2.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizer.h"

namespace r1 {

struct ChatToolCall {
  std::string type = "function";
  std::string name;
  std::string arguments;          // JSON text
  bool arguments_string = false;  // they were given as a string
};

struct ChatMessage {
  std::string role;
  std::optional<std::string> content;
  std::optional<std::string> reasoning_content;  // Qwen3: the think block apart from the answer
  std::vector<ChatToolCall> tool_calls;
};

struct ChatOptions {
  bool add_generation_prompt = false;             // end with the start of an assistant turn
  std::optional<bool> enable_thinking;            // Qwen3: false prefills an empty think block
  std::optional<std::string> date_string;         // Llama 3.1 and 3.2, such as "26 Jul 2024"
  std::optional<std::vector<std::string>> tools;  // one JSON text each
  // Not of the published templates: forms that cut think blocks out of earlier turns (DeepSeek-R1)
  // leave them in the turns after the last question, so that they can be trained on.
  bool keep_last_reasoning = false;
};

struct ChatRequest {
  std::vector<ChatMessage> messages;
  ChatOptions options;
};

// {"messages": [{"role", "content", ...}], "add_generation_prompt", "tools", "kwargs"}: members of
// kwargs may also stand beside messages. `where` names the source in errors. Unknown members of
// kwargs and wrong types are refused.
ChatRequest parse_chat_request(const nlohmann::ordered_json& object, const std::string& where);

// What the assistant says in a rendered text: bytes [begin, end) of the content and the token that
// ends the turn, without the header before it. These are the targets of supervised training.
struct ChatSpan {
  size_t begin = 0, end = 0;
};

struct RenderedChat {
  std::string text;
  std::vector<ChatSpan> assistant;
};

class ChatForm {
 public:
  // "chatml", "smollm2", "qwen2.5", ...; throws Error with the list for other names.
  static ChatForm by_name(std::string_view name);
  // The form of a published template; throws Error with the list if the text is not known.
  // `where` names the source in errors.
  static ChatForm of_template(std::string_view chat_template, const std::string& where);

  static std::vector<std::string> names();

  std::string_view name() const;
  // The text that ends an assistant turn, such as "<|im_end|>": a token to stop at.
  std::string_view turn_end() const;

  // `bos` is the text of the beginning-of-text token; forms without one ignore it. Throws Error,
  // naming the message, for what the form cannot say.
  RenderedChat render_with_spans(const std::vector<ChatMessage>& messages,
                                 const ChatOptions& options, std::string_view bos) const;
  std::string render(const std::vector<ChatMessage>& messages, const ChatOptions& options,
                     std::string_view bos) const {
    return render_with_spans(messages, options, bos).text;
  }

 private:
  explicit ChatForm(int index) : index_(index) {}
  int index_;
};

// A template of the form "chatml", for models of our own.
extern const char* const kChatMlTemplate;

// The ids of a rendered chat and, for each, whether it belongs to an assistant span. The text is
// encoded span by span, because a model also reads prompt and answer as two texts when it
// generates.
struct EncodedChat {
  std::vector<int32_t> ids;
  std::vector<uint8_t> trained;
};
EncodedChat encode_chat(const Tokenizer& tokenizer, const RenderedChat& chat);

}  // namespace r1
