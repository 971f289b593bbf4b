// Keys and values of earlier tokens, layer by layer, for a fixed number of sequences ("slots").
#pragma once

#include <cstdint>
#include <vector>

#include "tensor/kernels.h"

namespace r1::nn {

class KvCache {
 public:
  // Room for `slots` sequences of at most `capacity` tokens in each of `layers` layers.
  KvCache(std::int64_t layers, const AttentionShape& shape, std::int64_t slots,
          std::int64_t capacity, DType dtype);

  std::int64_t slots() const { return static_cast<std::int64_t>(lengths_.size()); }
  std::int64_t capacity() const { return capacity_; }
  std::int64_t length(std::int64_t slot) const { return lengths_[static_cast<std::size_t>(slot)]; }
  void set_length(std::int64_t slot, std::int64_t n) {
    lengths_[static_cast<std::size_t>(slot)] = n;
  }

  // The rows' keys and values are appended to their slots of this layer.
  void append(std::int64_t layer, const Tensor& k, const Tensor& v,
              std::span<const CacheRows> rows);
  // Attention of the rows' queries over their slots.
  Tensor attend(std::int64_t layer, const Tensor& q, std::span<const CacheRows> rows) const;
  // Slot `to` becomes the first `keys` tokens of slot `from`: a prompt computed once serves many
  // samples.
  void copy_slot(std::int64_t from, std::int64_t to, std::int64_t keys);

 private:
  struct Layer {
    Tensor keys, values;
  };
  std::vector<Layer> layers_;
  std::vector<std::int64_t> lengths_;
  AttentionShape shape_;
  std::int64_t capacity_;
};

}  // namespace r1::nn
