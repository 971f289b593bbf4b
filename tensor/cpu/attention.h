// Causal attention on the CPU; the members of Kernels (tensor/kernels.h) of the same names.
#pragma once

#include <cstdint>
#include <span>

#include "tensor/kernels.h"

namespace r1::cpu {

void attention_forward(const Tensor& q, const Tensor& k, const Tensor& v,
                       std::span<const Segment> segments, const AttentionShape& shape, Tensor& o,
                       Tensor& lse);
void attention_backward(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v,
                        const Tensor& o, const Tensor& lse, std::span<const Segment> segments,
                        const AttentionShape& shape, Tensor& dq, Tensor& dk, Tensor& dv);

// Key cache: [slot][G] panels as in isa/attention.h, value cache: [slot][G] padded rows; the keys
// of a slot are rounded up to whole panels. Both have the dtype of the computation.
Kernels::CacheSizes cache_sizes(const AttentionShape& shape, std::int64_t slots,
                                std::int64_t capacity);
void cache_append(const Tensor& k, const Tensor& v, std::span<const CacheRows> rows,
                  const AttentionShape& shape, std::int64_t capacity, Tensor& key_cache,
                  Tensor& value_cache);
void cache_copy(std::int64_t from, std::int64_t to, std::int64_t keys, const AttentionShape& shape,
                std::int64_t capacity, Tensor& key_cache, Tensor& value_cache);
void attention_cached(const Tensor& q, const Tensor& key_cache, const Tensor& value_cache,
                      std::span<const CacheRows> rows, const AttentionShape& shape,
                      std::int64_t capacity, Tensor& o);

}  // namespace r1::cpu
