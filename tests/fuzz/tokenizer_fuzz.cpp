// Any bytes as tokenizer.json, and again as a text: refused with r1::Error in one line, or a
// tokenizer that encodes every text into ids it can decode, the same as streamed.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "data/tokenizer.h"
#include "data/utf8.h"
#include "tensor/error.h"

namespace {

template <class F>
auto attempt(F&& f) -> std::optional<decltype(f())> {
  try {
    return f();
  } catch (const r1::Error& e) {
    if (std::string_view(e.what()).find('\n') != std::string_view::npos) std::abort();
    return std::nullopt;
  }
}

void use(const r1::Tokenizer& tokenizer, const std::string& text) {
  for (const bool special : {true, false}) {
    // A regex of the file may need too many steps.
    const auto ids = attempt([&] { return tokenizer.encode(text, special); });
    if (!ids) continue;
    const std::string decoded = tokenizer.decode(*ids);
    if (r1::utf8_find_invalid(decoded) != std::string_view::npos) std::abort();
    r1::StreamDecoder stream(tokenizer);
    std::string streamed;
    for (const std::int32_t id : *ids) streamed += stream.feed(id);
    if (streamed + stream.flush() != decoded) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto tokenizer = attempt([&] { return r1::Tokenizer::from_json(text, "fuzz"); });
  if (!tokenizer) return 0;
  use(*tokenizer, "ab  aab 12 x\xC3\xA9<s>\r\n a'sb");
  use(*tokenizer, text);
  for (std::int32_t id = 0; id < tokenizer->vocab_size(); ++id)
    if (tokenizer->has_token(id)) tokenizer->token_bytes(id);
  return 0;
}
