// Any text: refused with r1::Error in one line, or a value that prints and parses to itself; both
// kinds of tree accept the same texts.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "data/json.h"
#include "tensor/error.h"

namespace {

template <class F>
auto try_parse(F&& parse) -> std::optional<decltype(parse())> {
  try {
    return parse();
  } catch (const r1::Error& e) {
    if (std::string_view(e.what()).find('\n') != std::string_view::npos) std::abort();
    return std::nullopt;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto value = try_parse([&] { return r1::json::parse(text, "fuzz"); });
  const auto ordered = try_parse([&] { return r1::json::parse_ordered(text, "fuzz"); });
  if (value.has_value() != ordered.has_value()) std::abort();
  if (!value) return 0;
  const std::string printed = r1::json::dump(*value, "fuzz");
  const auto again = try_parse([&] { return r1::json::parse(printed, "fuzz"); });
  if (!again || *again != *value) std::abort();
  if (nlohmann::json::parse(ordered->dump()) != *value) std::abort();
  r1::json::printable(text);
  return 0;
}
