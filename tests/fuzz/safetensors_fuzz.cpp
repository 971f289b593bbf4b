// Any bytes: refused with r1::Error, or a file whose tensors tile the buffer and can be written and
// read again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "data/safetensors.h"
#include "tensor/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const auto file =
        r1::SafetensorsFile::parse(std::as_bytes(std::span(data, size)), "fuzz.safetensors");
    std::size_t total = 0;
    for (const r1::TensorEntry& e : file.entries()) {
      if (e.numel() * r1::size_of(e.dtype) != e.bytes.size()) std::abort();
      if (file.find(e.name) != &e) std::abort();
      total += e.bytes.size();
    }
    if (total > size) std::abort();
    for (const r1::TensorEntry& e : file.entries()) {
      for (const r1::DType t : {r1::DType::f32, r1::DType::f64, r1::DType::bf16, r1::DType::i32}) {
        try {
          r1::read_tensor(e, t, file.where());
        } catch (const r1::Error&) {
        }
      }
    }
  } catch (const r1::Error&) {
  }
  return 0;
}
