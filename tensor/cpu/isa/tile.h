// The register tile: R rows of A times a few columns of B, all sums kept in registers. Matrix
// product and attention are built on it. Each element of C is one chain of fused multiply-adds
// over k ascending, starting from 0 or from the C already there; its bits depend on nothing else,
// so a caller may cut rows, columns and k (with accumulate) wherever it likes.
#pragma once

#include "tensor/cpu/isa/vec.h"

namespace r1::cpu::R1_LEVEL {

// A panel is kPanel<T> columns of B, two vectors wide.
constexpr int kPanelVectors = 2;
template <class T>
constexpr int kPanel = kPanelVectors* kLanes<T>;

// Most rows of a tile over one panel: two vectors a row, the rest of the registers hold B and A.
#if defined(__AVX512F__)
constexpr int kTileRows = 14;
#elif defined(__aarch64__)
constexpr int kTileRows = 12;
#else
constexpr int kTileRows = 6;
#endif

// Panels that a tile of `rows` rows takes side by side, so that few rows still have enough
// independent chains to hide the latency of one.
constexpr int panels_at_once(int rows) {
  return 4 * rows <= kTileRows ? 4 : 2 * rows <= kTileRows ? 2 : 1;
}

// Where element (i, k) of A lies: rows: a[i * stride + k]; columns: a[i + k * stride].
enum class AOrder { rows, columns };

// A (R, depth) times P panels of B (depth, P * kPanel): element (k, j) of panel p lies at
// b[p * panel_stride + k * b_stride + j]. c (R, P * kPanel) has rows c_stride apart.
template <class T, int R, int P, AOrder O>
inline __attribute__((always_inline)) void tile(int64_t depth, const T* a, int64_t a_stride,
                                                const T* b, int64_t b_stride, int64_t panel_stride,
                                                T* c, int64_t c_stride, bool accumulate) {
  constexpr int L = kLanes<T>, W = P * kPanelVectors;
  Vec<T> sum[R][W];
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 16
    for (int w = 0; w < W; ++w)
      sum[i][w] = accumulate ? load<T>(c + i * c_stride + w * L) : Vec<T>{};
  for (int64_t k = 0; k < depth; ++k) {
    Vec<T> row[W];
#pragma GCC unroll 16
    for (int w = 0; w < W; ++w)
      row[w] = load<T>(b + (w / kPanelVectors) * panel_stride + (w % kPanelVectors) * L);
    b += b_stride;
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      const Vec<T> x = splat<T>(O == AOrder::rows ? a[i * a_stride] : a[i]);
#pragma GCC unroll 16
      for (int w = 0; w < W; ++w) sum[i][w] += x * row[w];
    }
    a += O == AOrder::rows ? 1 : a_stride;
  }
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 16
    for (int w = 0; w < W; ++w) store<T>(c + i * c_stride + w * L, sum[i][w]);
}

// A tile over one panel with the number of rows, 1 .. kTileRows, known only at run time.
template <class T, AOrder O, int R = kTileRows>
inline __attribute__((always_inline)) void tile_rows(int rows, int64_t depth, const T* a,
                                                     int64_t a_stride, const T* b, int64_t b_stride,
                                                     T* c, int64_t c_stride, bool accumulate) {
  if (rows == R)
    return tile<T, R, 1, O>(depth, a, a_stride, b, b_stride, 0, c, c_stride, accumulate);
  if constexpr (R > 1)
    tile_rows<T, O, R - 1>(rows, depth, a, a_stride, b, b_stride, c, c_stride, accumulate);
}

}  // namespace r1::cpu::R1_LEVEL
