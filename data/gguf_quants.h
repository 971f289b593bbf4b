// From GGUF's block-quantised tensors to numbers (ggml-quants.c is the reference, to the bit), and
// the row order of q and k in llama files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "data/gguf.h"
#include "tensor/tensor.h"

namespace r1 {

// Decodes whole blocks: out has blocks.size() / block_bytes(type) * block_elements(type) floats.
void dequantize(GgmlType type, std::span<const std::byte> blocks, std::span<float> out);

// Fills `out` (f32, f64 or bf16, as many elements as `t`) with the f32 values of the tensor, in
// parallel. Whether the shapes agree is for the caller to judge. `where` names the file in errors.
void read_tensor(const GgufTensor& t, Tensor& out, std::string_view where);
Tensor read_tensor(const GgufTensor& t, DType dtype, std::string_view where);

// For general.architecture = llama the rows of attn_q and attn_k (weights [heads * D, in] and
// biases [heads * D]) are stored per head as rotated pairs (i, i + D/2) side by side; Hugging Face
// models keep the two halves apart. unpermute: reshape(heads, D/2, 2, in).swap(1, 2), for reading;
// permute is its inverse. attn_k has attention.head_count_kv heads. The result is a new tensor.
Tensor unpermute_rope_rows(const Tensor& w, std::int64_t heads);
Tensor permute_rope_rows(const Tensor& w, std::int64_t heads);

}  // namespace r1
