#include "nn/kv_cache.h"

#include "tensor/allocator.h"

namespace r1::nn {

KvCache::KvCache(std::int64_t layers, const AttentionShape& shape, std::int64_t slots,
                 std::int64_t capacity, DType dtype)
    : lengths_(static_cast<std::size_t>(slots), 0), shape_(shape), capacity_(capacity) {
  const memory::Scope scope("kv cache");
  const Kernels::CacheSizes sizes = kernels().cache_sizes(shape, slots, capacity);
  for (std::int64_t l = 0; l < layers; ++l) {
    layers_.push_back(
        {Tensor::zeros({sizes.key_numbers}, dtype), Tensor::zeros({sizes.value_numbers}, dtype)});
  }
}

void KvCache::append(std::int64_t layer, const Tensor& k, const Tensor& v,
                     std::span<const CacheRows> rows) {
  for (const CacheRows& r : rows) {
    R1_CHECK(
        r.slot >= 0 && r.slot < slots() && r.position >= 0 && r.position + r.length <= capacity_,
        "kv cache: tokens [{}, {}) of slot {} do not fit {} slots of {} tokens", r.position,
        r.position + r.length, r.slot, slots(), capacity_);
  }
  Layer& l = layers_[static_cast<std::size_t>(layer)];
  kernels().cache_append(k, v, rows, shape_, capacity_, l.keys, l.values);
}

Tensor KvCache::attend(std::int64_t layer, const Tensor& q, std::span<const CacheRows> rows) const {
  const Layer& l = layers_[static_cast<std::size_t>(layer)];
  Tensor o = Tensor::empty({q.rows(), shape_.heads * shape_.value_dim}, q.dtype());
  kernels().attention_cached(q, l.keys, l.values, rows, shape_, capacity_, o);
  return o;
}

void KvCache::copy_slot(std::int64_t from, std::int64_t to, std::int64_t keys) {
  R1_CHECK(keys <= length(from), "kv cache: slot {} holds {} tokens, not {}", from, length(from),
           keys);
  if (from != to) {
    for (Layer& l : layers_) {
      kernels().cache_copy(from, to, keys, shape_, capacity_, l.keys, l.values);
    }
  }
  set_length(to, keys);
}

}  // namespace r1::nn
