// The pieces that forward and backward attention share: a narrow register tile and the masked
// vectors of one score row.
#pragma once

#include "tensor/cpu/isa/attention.h"
#include "tensor/cpu/isa/math.h"
#include "tensor/cpu/isa/tile.h"
#include "tensor/cpu/isa/transpose.h"

namespace r1::cpu::R1_LEVEL {

// Rows of a tile, over queries and over keys. Fewer than the matrix product takes: causal scores
// stop at a different key in each row, and what a tile computes past them is lost.
#if defined(__AVX512F__)
constexpr int kQueryTile = 8, kKeyTile = 8;
#else
constexpr int kQueryTile = 6, kKeyTile = 4;
#endif
static_assert(kAttentionRows % kQueryTile == 0);

// So few rows wait for memory, not for sums: they read wider strips, in vectors, and ask early for
// what comes kAhead numbers later.
constexpr int kFewRows = kQueryTile / 2;
constexpr int kWideStrip = 4, kAhead = 1024;

// Scores of a block of query rows lie in blocks of kBlockKeys keys: [keys / kBlockKeys]
// [kAttentionRows][kBlockKeys]. A tile reads them with a stride known to the compiler.
constexpr int kBlockKeys = 64;
static_assert(kBlockKeys % kKeyPanel == 0 && kKeyPanel % kKeyTile == 0);

inline int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t max_of(int64_t a, int64_t b) { return a > b ? a : b; }
inline int64_t padded(int64_t dim) { return (dim + kHeadPad - 1) / kHeadPad * kHeadPad; }

// C (R, W vectors) = A (R, depth) B, or C += with accumulate: one chain of fused multiply-adds over
// the depth for each element, as in tile.h, which is two vectors wide at least.
template <class T, int R, int W, AOrder O>
inline __attribute__((always_inline)) void strip(int64_t depth, const T* a, int64_t a_stride,
                                                 const T* b, int64_t b_stride, T* c,
                                                 int64_t c_stride, bool accumulate) {
  constexpr int L = kLanes<T>, kLineVectors = kVectorBytes < 64 ? 64 / kVectorBytes : 1;
  Vec<T> sum[R][W];
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 4
    for (int w = 0; w < W; ++w)
      sum[i][w] = accumulate ? load<T>(c + i * c_stride + w * L) : Vec<T>{};
  for (int64_t k = 0; k < depth; ++k) {
    Vec<T> row[W];
#pragma GCC unroll 4
    for (int w = 0; w < W; ++w) row[w] = load<T>(b + w * L);
    if constexpr (R <= kFewRows) {
#pragma GCC unroll 4
      for (int w = 0; w < W; w += kLineVectors) __builtin_prefetch(b + kAhead + w * L, 0, 3);
    }
    b += b_stride;
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      const Vec<T> x = splat<T>(O == AOrder::rows ? a[i * a_stride] : a[i]);
#pragma GCC unroll 4
      for (int w = 0; w < W; ++w) sum[i][w] += x * row[w];
    }
    a += O == AOrder::rows ? 1 : a_stride;
  }
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 4
    for (int w = 0; w < W; ++w) store<T>(c + i * c_stride + w * L, sum[i][w]);
}

// A strip of 1 .. R rows, known only at run time.
template <class T, int R, int W, AOrder O>
inline __attribute__((always_inline)) void strip_rows(int64_t rows, int64_t depth, const T* a,
                                                      int64_t a_stride, const T* b,
                                                      int64_t b_stride, T* c, int64_t c_stride,
                                                      bool accumulate) {
  if (rows == R) return strip<T, R, W, O>(depth, a, a_stride, b, b_stride, c, c_stride, accumulate);
  if constexpr (R > 1)
    strip_rows<T, R - 1, W, O>(rows, depth, a, a_stride, b, b_stride, c, c_stride, accumulate);
}

// Scores of a query tile with the first `keys` keys of `panels`, `dim` components wide, into a
// score block. Keys are taken a strip at a time, so the scores run on to the end of a strip.
template <class T>
__attribute__((noinline)) void score_tile(int64_t rows, int64_t dim, const T* query,
                                          const T* panels, int64_t keys, T* scores) {
  constexpr int L = kLanes<T>;
  for (int64_t j = 0; j < keys; j += 2 * L) {
    const T* b = panels + j / kKeyPanel * kKeyPanel * dim + j % kKeyPanel;
    for (int64_t d = 0; d < dim; d += kBlockKeys) {
      const int64_t depth = min_of(kBlockKeys, dim - d);
      const T* a = query + d * kAttentionRows;
      if (kLanes<T> >= kKeyTile && keys - j <= L) {
        strip_rows<T, kQueryTile, 1, AOrder::rows>(rows, depth, a, kBlockKeys, b + d * kKeyPanel,
                                                   kKeyPanel, scores + j, kBlockKeys, d > 0);
      } else {
        strip_rows<T, kQueryTile, 2, AOrder::rows>(rows, depth, a, kBlockKeys, b + d * kKeyPanel,
                                                   kKeyPanel, scores + j, kBlockKeys, d > 0);
      }
    }
  }
}

// C (rows, width) (+)= A (rows, depth) B (depth, width): A is the first `rows` rows of a query tile
// of a score block, or with columns all kKeyTile columns of a key tile. Width is padded. Column j
// of row k of B is at b + j / kBlockKeys * b_block + k * b_stride + j % kBlockKeys.
template <class T, AOrder O>
__attribute__((noinline)) void weigh_rows(int64_t rows, int64_t depth, const T* a, const T* b,
                                          int64_t b_stride, int64_t b_block, int64_t width, T* c,
                                          bool accumulate) {
  constexpr int L = kLanes<T>;
  for (int64_t j = 0; j < width; j += 2 * L) {
    const T* bj = b + j / kBlockKeys * b_block + j % kBlockKeys;
    if constexpr (O == AOrder::columns) {
      if (j + L < width)
        strip<T, kKeyTile, 2, O>(depth, a, kBlockKeys, bj, b_stride, c + j, width, accumulate);
      else strip<T, kKeyTile, 1, O>(depth, a, kBlockKeys, bj, b_stride, c + j, width, accumulate);
    } else {
      if (rows <= kFewRows && j + kWideStrip * L <= width) {
        strip_rows<T, kFewRows, kWideStrip, O>(rows, depth, a, kBlockKeys, bj, b_stride, c + j,
                                               width, accumulate);
        j += (kWideStrip - 2) * L;
      } else if (j + L < width)
        strip_rows<T, kQueryTile, 2, O>(rows, depth, a, kBlockKeys, bj, b_stride, c + j, width,
                                        accumulate);
      else
        strip_rows<T, kQueryTile, 1, O>(rows, depth, a, kBlockKeys, bj, b_stride, c + j, width,
                                        accumulate);
    }
  }
}

// Copies `dim` numbers and zeros up to a padded row.
template <class T>
inline void copy_padded(const T* src, int64_t dim, T* dst) {
  constexpr int L = kLanes<T>;
  for (int64_t i = 0; i < padded(dim); i += L) {
    const int64_t n = dim - i;
    store<T>(dst + i,
             n >= L ? load<T>(src + i) : load_part<T>(src + i, n > 0 ? static_cast<int>(n) : 0));
  }
}

// Row r of the queries of a block, which lie like its scores, in column blocks kQueryBlock numbers
// apart: [dim / kBlockKeys][kAttentionRows][kBlockKeys], the row padded.
constexpr int64_t kQueryBlock = kAttentionRows * kBlockKeys;
template <class T>
inline void pack_query(const T* row, int64_t r, int64_t dim, T* query) {
  for (int64_t d = 0; d < dim; d += kBlockKeys)
    copy_padded<T>(row + d, min_of(kBlockKeys, dim - d),
                   query + d * kAttentionRows + r * kBlockKeys);
}
inline int64_t query_numbers(int64_t dim) {
  return (dim + kBlockKeys - 1) / kBlockKeys * kQueryBlock;
}

// The sum (or largest) of all lanes, in every lane, by a fixed tree.
template <class T>
inline Vec<T> sum_all(Vec<T> v) {
#pragma GCC unroll 4
  for (int round = 1; round < kLanes<T>; round *= 2) v = zip<0>(v, v) + zip<1>(v, v);
  return v;
}
template <class T>
inline Vec<T> max_all(Vec<T> v) {
#pragma GCC unroll 4
  for (int round = 1; round < kLanes<T>; round *= 2) v = max_lanes<T>(zip<0>(v, v), zip<1>(v, v));
  return v;
}

// Lanes whose key, first + lane, is below `keys`.
template <class T>
inline Mask<T> below(int64_t first, int64_t keys) {
  constexpr int L = kLanes<T>;
  const int64_t n = keys - first;
  Mask<T> lane;
  for (int i = 0; i < L; ++i) lane[i] = i;
  typedef __typeof__(lane[0] + 0) Int;
  return lane < (Mask<T>{} + static_cast<Int>(n > L ? L : n));
}

// attention_backward.cpp
int64_t attention_backward_scratch(int64_t key_dim, int64_t value_dim);
template <class T>
void attention_backward(const AttentionBackward<T>& a);

// attention_pack.cpp
template <class T>
void attention_pack_panels(const T* src, int64_t src_stride, int64_t n, int64_t dim, int64_t first,
                           bool last, T* panels);
template <class T>
void attention_pack_rows(const T* src, int64_t src_stride, int64_t n, int64_t dim, T* rows);
template <class T>
void attention_unpack_rows(const T* x, int64_t n, int64_t dim, bool accumulate, T* y,
                           int64_t y_stride);
// attention_forward.cpp
int64_t attention_forward_scratch(int64_t keys, int64_t key_dim, int64_t value_dim);
template <class T>
void attention_forward(const AttentionForward<T>& a);
// attention_backward.cpp
int64_t attention_backward_scratch(int64_t key_dim, int64_t value_dim);
template <class T>
void attention_backward(const AttentionBackward<T>& a);

}  // namespace r1::cpu::R1_LEVEL
