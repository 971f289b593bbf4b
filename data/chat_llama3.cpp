// The forms of Llama 3, 3.1 and 3.2.
#include <array>
#include <ctime>

#include "data/chat_forms.h"
#include "data/json.h"
#include "data/utf8.h"
#include "tensor/error.h"

namespace r1::chat {

namespace {

// Characters that the templates' trim filter (Python's str.strip) takes off.
bool is_trimmed(char32_t c) { return is_white_space(c) || (c >= 0x1C && c <= 0x1F); }

std::string_view trim(std::string_view text) {
  while (!text.empty()) {
    const Utf8Step step = utf8_next(text, 0);
    if (!is_trimmed(step.code)) break;
    text.remove_prefix(static_cast<size_t>(step.bytes));
  }
  while (!text.empty()) {
    size_t at = text.size() - 1;
    while (at > 0 && (static_cast<uint8_t>(text[at]) & 0xC0) == 0x80) --at;
    if (!is_trimmed(utf8_next(text, at).code)) break;
    text = text.substr(0, at);
  }
  return text;
}

// "26 Jul 2024", in English whatever the locale.
std::string today() {
  static constexpr std::array<const char*, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                          "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  R1_CHECK(localtime_r(&now, &local) != nullptr, "chat: the clock gives no date; set date_string");
  return fmt::format("{:02} {} {}", local.tm_mday, kMonths[static_cast<size_t>(local.tm_mon)],
                     local.tm_year + 1900);
}

void put_header(Writer& out, std::string_view role) {
  out.put("<|start_header_id|>");
  out.put(role);
  out.put("<|end_header_id|>\n\n");
}

}  // namespace

void render_llama3(const Llama3Rules& rules, const Messages& messages, const ChatOptions& options,
                   std::string_view bos, Writer& out) {
  out.put(bos);
  size_t first = 0;
  if (rules.dated) {
    R1_CHECK(!options.tools, "chat: tools are not supported in the dated Llama 3 forms");
    put_header(out, "system");
    out.put("Cutting Knowledge Date: December 2023\nToday Date: ");
    if (options.date_string) out.put(*options.date_string);
    else out.put(rules.date.empty() ? today() : std::string(rules.date));
    out.put("\n\n");
    if (messages[0].role == "system") {
      out.put(trim(content_of(messages, 0)));
      first = 1;
    }
    out.put("<|eot_id|>");
  }
  for (size_t i = first; i < messages.size(); ++i) {
    const std::string& role = messages[i].role;
    R1_CHECK(
        !rules.dated || (role != "tool" && role != "ipython" && messages[i].tool_calls.empty()),
        "message {}: tools are not supported in the dated Llama 3 forms", i);
    put_header(out, role);
    if (role == "assistant") out.begin_span();
    out.put(trim(content_of(messages, i)));
    out.put("<|eot_id|>");
    if (role == "assistant") out.end_span();
  }
  if (options.add_generation_prompt || rules.always_prompt) put_header(out, "assistant");
}

}  // namespace r1::chat
