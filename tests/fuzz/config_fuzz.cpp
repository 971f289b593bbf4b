// Any text as config.json: refused with r1::Error in one line, or a shape that is safe to build.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string_view>

#include "data/json.h"
#include "nn/config.h"
#include "tensor/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const r1::nn::ModelConfig c = r1::nn::config_from_json(r1::json::parse(text, "fuzz"), "fuzz");
    if (c.layers < 1 || c.heads < 1 || c.kv_heads < 1 || c.heads % c.kv_heads != 0) std::abort();
    if (c.head_dim < 2 || c.head_dim % 2 != 0 || c.hidden_size < 1 || c.vocab_size < 1)
      std::abort();
    if (c.head_dim <= 4096 && c.rope.factors.size() <= 4096) {
      r1::nn::rope_frequencies(c.rope, c.head_dim);
    }
  } catch (const r1::Error& e) {
    if (std::string_view(e.what()).find('\n') != std::string_view::npos) std::abort();
  }
  return 0;
}
