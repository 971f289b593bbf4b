// Gradient of softmax attention, one query head of one sequence at a time. With S = scale Q K^T,
// P = exp(S - lse), O = P V and D = rowsum(dO * O):
//   dP = dO V^T,  dS = P * (dP - D),  dV = P^T dO,  dQ = scale dS K,  dK = scale dS^T Q.
// P is computed again a block of rows and keys at a time. dQ of a row is one chain over its keys
// ascending; dK and dV of a key are one chain over the rows ascending.
#include "tensor/cpu/isa/attention_tile.h"
#include "tensor/cpu/isa/level.h"

namespace r1::cpu::R1_LEVEL {
namespace {

template <class T>
struct RowBlock {
  int64_t begin, rows;
  int64_t keys;  // that the first row sees
  T *q, *dout;   // as pack_query() leaves them
  T* dq;         // padded rows
  T *p, *ds;     // [kAttentionRows][kBlockKeys]
  T lse[kAttentionRows], d[kAttentionRows];
};

template <class T>
T dot(const T* x, const T* y, int64_t n) {
  constexpr int L = kLanes<T>;
  Vec<T> sum{};
  for (int64_t i = 0; i < n; i += L) {
    const int part = static_cast<int>(min_of(L, n - i));
    sum += part == L ? load<T>(x + i) * load<T>(y + i)
                     : load_part<T>(x + i, part) * load_part<T>(y + i, part);
  }
  return sum_all<T>(sum)[0];
}

template <class T>
void load_rows(const AttentionBackward<T>& a, RowBlock<T>& b) {
  for (int64_t r = 0; r < b.rows; ++r) {
    const int64_t t = b.begin + r;
    const T* q = a.q + t * a.q_stride;
    const T* dout = a.dout + t * a.o_stride;
    pack_query<T>(q, r, a.key_dim, b.q);
    pack_query<T>(dout, r, a.value_dim, b.dout);
    b.lse[r] = a.lse[t];
    b.d[r] = dot<T>(dout, a.o + t * a.o_stride, a.value_dim);
  }
}

// P and scale dS of the query tile at row t with the keys first .. first + keys - 1 of a block.
// What a tile computes past the keys that a row sees is set to zero.
template <class T>
void tile_gradient(const AttentionBackward<T>& a, const RowBlock<T>& b, int64_t t, int64_t first,
                   int64_t keys) {
  constexpr int L = kLanes<T>;
  const int64_t rows = min_of(kQueryTile, b.rows - t);
  T* p = b.p + t * kBlockKeys;
  T* ds = b.ds + t * kBlockKeys;
  score_tile<T>(rows, a.key_dim, b.q + t * kBlockKeys, a.keys + first * a.key_dim, keys, p);
  score_tile<T>(rows, a.value_dim, b.dout + t * kBlockKeys, a.values + first * a.value_dim, keys,
                ds);
  for (int64_t r = 0; r < rows; ++r, p += kBlockKeys, ds += kBlockKeys) {
    const T lse = b.lse[t + r], d = b.d[t + r];
    const int64_t seen = b.keys + t + r - first;
    const int64_t end = (keys + kKeyTile - 1) / kKeyTile * kKeyTile;  // key_gradient reads on to it
    int64_t j = 0;
    for (; j + L <= min_of(keys, seen); j += L) {
      const Vec<T> e = exp_lanes<T>(load<T>(p + j) * a.scale - lse);
      store<T>(p + j, e);
      store<T>(ds + j, e * (load<T>(ds + j) - d) * a.scale);
    }
    for (; j < end; j += L) {
      const Mask<T> sees = below<T>(j, seen);
      const Vec<T> e = sees ? exp_lanes<T>(load<T>(p + j) * a.scale - lse) : Vec<T>{};
      store<T>(p + j, e);
      store<T>(ds + j, sees ? e * (load<T>(ds + j) - d) * a.scale : Vec<T>{});
    }
  }
}

// Adds the rows of the block to the gradients of the keys [first, first + keys).
template <class T>
void key_gradient(const AttentionBackward<T>& a, const RowBlock<T>& b, int64_t first,
                  int64_t keys) {
  const int64_t kw = padded(a.key_dim), vw = padded(a.value_dim);
  for (int64_t j = 0; j < keys; j += kKeyTile) {
    const int64_t key = first + j;
    const int64_t start = max_of(0, key + 1 - b.keys);  // the first row that sees this key
    const int64_t depth = b.rows - start;
    // A row before this block saw the key, and every row before it the keys before.
    const bool accumulate = b.begin > 0 && key < b.keys - 1;
    if (a.dvalues)
      weigh_rows<T, AOrder::columns>(kKeyTile, depth, b.p + start * kBlockKeys + j,
                                     b.dout + start * kBlockKeys, kBlockKeys, kQueryBlock, vw,
                                     a.dvalues + key * vw, accumulate);
    if (a.dkeys)
      weigh_rows<T, AOrder::columns>(kKeyTile, depth, b.ds + start * kBlockKeys + j,
                                     b.q + start * kBlockKeys, kBlockKeys, kQueryBlock, kw,
                                     a.dkeys + key * kw, accumulate);
  }
}

template <class T>
void backward_block(const AttentionBackward<T>& a, RowBlock<T>& b) {
  const int64_t kw = padded(a.key_dim);
  load_rows<T>(a, b);
  const int64_t all = b.keys + b.rows - 1;
  for (int64_t first = 0; first < all; first += kBlockKeys) {
    for (int64_t t = 0; t < b.rows; t += kQueryTile) {
      const int64_t rows = min_of(kQueryTile, b.rows - t);
      const int64_t keys = min_of(kBlockKeys, b.keys + t + rows - 1 - first);
      if (keys <= 0) continue;
      tile_gradient<T>(a, b, t, first, keys);
      if (a.dq)
        weigh_rows<T, AOrder::rows>(rows, keys, b.ds + t * kBlockKeys, a.key_rows + first * kw, kw,
                                    kBlockKeys, kw, b.dq + t * kw, first > 0);
    }
    key_gradient<T>(a, b, first, min_of(kBlockKeys, all - first));
  }
  if (a.dq)
    attention_unpack_rows<T>(b.dq, b.rows, a.key_dim, false, a.dq + b.begin * a.q_stride,
                             a.q_stride);
}

}  // namespace

template <class T>
void attention_backward(const AttentionBackward<T>& a) {
  RowBlock<T> b;
  b.q = a.scratch;
  b.dout = b.q + query_numbers(a.key_dim);
  b.dq = b.dout + query_numbers(a.value_dim);
  b.p = b.dq + kAttentionRows * padded(a.key_dim);
  b.ds = b.p + kAttentionRows * kBlockKeys;
  for (b.begin = 0; b.begin < a.length; b.begin += kAttentionRows) {
    b.rows = min_of(kAttentionRows, a.length - b.begin);
    b.keys = a.first_keys + b.begin;
    backward_block<T>(a, b);
  }
}

int64_t attention_backward_scratch(int64_t key_dim, int64_t value_dim) {
  return query_numbers(key_dim) + query_numbers(value_dim) + kAttentionRows * padded(key_dim) +
         2 * kQueryBlock;
}

template void attention_backward<float>(const AttentionBackward<float>&);
template void attention_backward<double>(const AttentionBackward<double>&);

}  // namespace r1::cpu::R1_LEVEL
