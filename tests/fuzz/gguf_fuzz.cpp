// Any bytes: refused with r1::Error, or a file of which everything can be asked.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <span>

#include "data/gguf.h"
#include "data/gguf_names.h"
#include "data/gguf_quants.h"
#include "tensor/error.h"

namespace {

template <class F>
void refuse_or_do(F&& f) {
  try {
    f();
  } catch (const r1::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  refuse_or_do([&] {
    const auto file = r1::GgufFile::parse(std::as_bytes(std::span(data, size)), "fuzz.gguf");
    std::size_t total = 0;
    for (const r1::GgufTensor& t : file.tensors()) {
      total += t.bytes.size();
      if (file.find(t.name) != &t) std::abort();
    }
    if (total > size) std::abort();
    for (const r1::GgufEntry& e : file.metadata()) {
      if (file.entry(e.key) != &e) std::abort();
      refuse_or_do([&] { file.get_int(e.key, -100, 100); });
      refuse_or_do([&] { file.get_number(e.key); });
      refuse_or_do([&] { file.get_bool(e.key); });
      refuse_or_do([&] { file.get_string(e.key); });
      refuse_or_do([&] { file.get_ints(e.key); });
      refuse_or_do([&] { file.get_numbers(e.key); });
      refuse_or_do([&] { file.get_strings(e.key); });
    }
    for (const r1::GgufTensor& t : file.tensors())
      refuse_or_do([&] { r1::read_tensor(t, r1::DType::f32, file.where()); });
    refuse_or_do([&] { r1::hf_config(file); });
    refuse_or_do([&] {
      for (const r1::HfTensor& t : r1::hf_tensors(file))
        r1::read_tensor(t, r1::DType::f64, file.where());
    });
  });
  return 0;
}
