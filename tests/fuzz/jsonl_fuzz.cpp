// Any text as a data file: refused with r1::Error in one line, or lines whose examples are sound.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "data/dataset.h"
#include "tensor/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const r1::TextReader reader{std::nullopt, std::nullopt, "model"};
  try {
    for (const r1::JsonLine& line : r1::parse_jsonl(text, "fuzz")) {
      const r1::Example e = r1::read_example(line, "fuzz", reader);
      if (!e.learn.empty() && e.learn.size() != e.ids.size()) std::abort();
      if (e.targets() > static_cast<std::int64_t>(e.ids.size())) std::abort();
    }
  } catch (const r1::Error& e) {
    if (std::string_view(e.what()).find('\n') != std::string_view::npos) std::abort();
  }
  return 0;
}
