// Any text as a chat request: refused with r1::Error in one line, or rendered by every form with
// spans that lie in the text, in order.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string_view>

#include "data/chat.h"
#include "data/json.h"
#include "tensor/error.h"

namespace {

template <class F>
void attempt(F&& f) {
  try {
    f();
  } catch (const r1::Error& e) {
    if (std::string_view(e.what()).find('\n') != std::string_view::npos) std::abort();
  }
}

void check(const r1::RenderedChat& chat) {
  std::size_t done = 0;
  for (const r1::ChatSpan& span : chat.assistant) {
    if (span.begin < done || span.end < span.begin || span.end > chat.text.size()) std::abort();
    done = span.end;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  attempt([&] {
    const r1::ChatRequest request =
        r1::parse_chat_request(r1::json::parse_ordered(text, "fuzz"), "fuzz");
    for (const std::string& name : r1::ChatForm::names())
      attempt([&] {
        check(r1::ChatForm::by_name(name).render_with_spans(request.messages, request.options,
                                                            "<bos>"));
      });
  });
  return 0;
}
