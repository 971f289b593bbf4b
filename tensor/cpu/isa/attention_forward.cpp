// Softmax attention in two passes over the scores of a block of query rows. Every score is one
// chain of fused multiply-adds over the components; the weights of a row are summed in lanes fixed
// by the index of the key, and the output is one chain over the keys ascending. Keys that a row
// does not see weigh exactly zero, so a row gives the same bits in any block.
#include "tensor/cpu/isa/attention.h"

#include "tensor/cpu/isa/attention_tile.h"
#include "tensor/cpu/isa/level.h"

namespace r1::cpu::R1_LEVEL {
namespace {

constexpr int64_t kScoreBlock = kAttentionRows * kBlockKeys;

// Turns the scores of a row into weights exp(scale s - max) in place, zero from `keys` to the end
// of the vector in which `tile_keys` ends. Returns the sum of the weights.
template <class T>
T soften(T* scores, T scale, int64_t keys, int64_t tile_keys, T* max_out) {
  constexpr int L = kLanes<T>;
  const Vec<T> lowest = splat<T>(-static_cast<T>(__builtin_inff()));
  Vec<T> top = lowest;
  for (int64_t block = 0; block < keys; block += kBlockKeys) {
    const T* s = scores + block * kAttentionRows;
    const int64_t n = min_of(kBlockKeys, keys - block);
    int64_t j = 0;
    for (; j + L <= n; j += L) top = max_lanes<T>(top, load<T>(s + j) * scale);
    if (j < n) top = max_lanes<T>(top, below<T>(j, n) ? load<T>(s + j) * scale : lowest);
  }
  const Vec<T> max = max_all<T>(top);
  Vec<T> sum{};
  for (int64_t block = 0; block < tile_keys; block += kBlockKeys) {
    T* s = scores + block * kAttentionRows;
    const int64_t n = min_of(kBlockKeys, keys - block);
    int64_t j = 0;
    for (; j + L <= n; j += L) {
      const Vec<T> e = exp_lanes<T>(load<T>(s + j) * scale - max);
      store<T>(s + j, e);
      sum += e;
    }
    if (j < n) {
      const Vec<T> e = below<T>(j, n) ? exp_lanes<T>(load<T>(s + j) * scale - max) : Vec<T>{};
      store<T>(s + j, e);
      sum += e;
      j += L;
    }
    for (; j < min_of(kBlockKeys, tile_keys - block); j += L) store<T>(s + j, Vec<T>{});
  }
  *max_out = max[0];
  return sum_all<T>(sum)[0];
}

// Query rows that are worked on together.
struct Block {
  int64_t rows, first_keys;
  int64_t token[kAttentionRows] = {}, head[kAttentionRows] = {};

  Block(int64_t begin, int64_t end, int64_t group, int64_t first)
      : rows(end - begin), first_keys(first) {
    int64_t t = begin / group, h = begin % group;
    for (int64_t r = 0; r < rows; ++r) {
      token[r] = t;
      head[r] = h;
      if (++h == group) {
        h = 0;
        ++t;
      }
    }
  }
  int64_t keys(int64_t r) const { return first_keys + token[r]; }  // that row r sees
  // Keys that some row of the tile at row t sees.
  int64_t tile_keys(int64_t t) const { return keys(min_of(t + kQueryTile, rows) - 1); }
};

// Keys outside, query tiles inside: a panel stays near while all rows of the block use it.
template <class T>
void score_block(const AttentionForward<T>& a, const Block& block, const T* query, T* scores) {
  for (int64_t first = 0; first < block.keys(block.rows - 1); first += kBlockKeys) {
    for (int64_t t = 0; t < block.rows; t += kQueryTile) {
      const int64_t n = min_of(kBlockKeys, block.tile_keys(t) - first);
      if (n > 0)
        score_tile<T>(min_of(kQueryTile, block.rows - t), a.key_dim, query + t * kBlockKeys,
                      a.keys + first * a.key_dim, n,
                      scores + first * kAttentionRows + t * kBlockKeys);
    }
  }
}

template <class T>
void weigh_values(const AttentionForward<T>& a, const Block& block, const T* scores, T* out) {
  const int64_t width = padded(a.value_dim);
  for (int64_t first = 0; first < block.keys(block.rows - 1); first += kBlockKeys) {
    for (int64_t t = 0; t < block.rows; t += kQueryTile) {
      const int64_t n = min_of(kBlockKeys, block.tile_keys(t) - first);
      if (n > 0)
        weigh_rows<T, AOrder::rows>(
            min_of(kQueryTile, block.rows - t), n, scores + first * kAttentionRows + t * kBlockKeys,
            a.values + first * width, width, kBlockKeys, width, out + t * width, first > 0);
    }
  }
}

template <class T>
void forward_block(const AttentionForward<T>& a, int64_t begin, int64_t end) {
  constexpr int L = kLanes<T>;
  const int64_t width = padded(a.value_dim);
  T* query = a.scratch;
  T* out = query + query_numbers(a.key_dim);
  T* scores = out + kAttentionRows * width;

  const Block block(begin, end, a.group, a.first_keys);
  T max[kAttentionRows], sum[kAttentionRows] = {};
  for (int64_t r = 0; r < block.rows; ++r)
    pack_query<T>(a.q + block.token[r] * a.q_stride + block.head[r] * a.key_dim, r, a.key_dim,
                  query);
  score_block<T>(a, block, query, scores);
  for (int64_t t = 0; t < block.rows; t += kQueryTile) {
    const int64_t tile_keys = block.tile_keys(t);
    for (int64_t r = t; r < min_of(t + kQueryTile, block.rows); ++r)
      sum[r] = soften<T>(scores + r * kBlockKeys, a.scale, block.keys(r), tile_keys, &max[r]);
  }
  weigh_values<T>(a, block, scores, out);
  for (int64_t r = 0; r < block.rows; ++r) {
    T* o = a.o + block.token[r] * a.o_stride + block.head[r] * a.value_dim;
    for (int64_t j = 0; j < a.value_dim; j += L) {
      // Adding 0 turns -0 into 0: which of the two a chain ends in depends on the zeros after it.
      const Vec<T> y = load<T>(out + r * width + j) / sum[r] + T(0);
      if (a.value_dim - j >= L) store<T>(o + j, y);
      else store_part<T>(o + j, y, static_cast<int>(a.value_dim - j));
    }
  }
  if (!a.lse) return;
  for (int64_t r = 0; r < block.rows; r += L) store<T>(sum + r, log_lanes<T>(load<T>(sum + r)));
  for (int64_t r = 0; r < block.rows; ++r)
    a.lse[block.head[r] * a.lse_stride + block.token[r]] = max[r] + sum[r];
}

}  // namespace

template <class T>
void attention_forward(const AttentionForward<T>& a) {
  for (int64_t r = a.begin; r < a.end; r += kAttentionRows)
    forward_block<T>(a, r, min_of(r + kAttentionRows, a.end));
}

int64_t attention_forward_scratch(int64_t keys, int64_t key_dim, int64_t value_dim) {
  const int64_t blocks = (keys + kBlockKeys - 1) / kBlockKeys;
  return query_numbers(key_dim) + kAttentionRows * padded(value_dim) + blocks * kScoreBlock;
}

template void attention_forward<float>(const AttentionForward<float>&);
template void attention_forward<double>(const AttentionForward<double>&);

}  // namespace r1::cpu::R1_LEVEL
