// Blocks of the matrix product. The loops, from the outside: blocks of k (kDepth), blocks of rows
// (kTilesPerBlock tiles, whose A is copied so that a tile reads it in order), tiles, panels. A
// tile's A stays in the first cache over the panels, the panels' block of k in the second over the
// tiles: the caller gives it as many columns as fit there.
#include "tensor/cpu/isa/gemm.h"

#include "tensor/cpu/isa/level.h"
#include "tensor/cpu/isa/tile.h"
#include "tensor/cpu/isa/transpose.h"

namespace r1::cpu::R1_LEVEL {
namespace {

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// k of a block of kTilesPerBlock tiles: 1 KiB of a row, so that the copy of a tile's A has 16 KiB
// at most. Fewer tiles take as much more k: with few rows, B is read in long runs from memory.
template <class T>
constexpr int64_t kDepth = 1024 / sizeof(T);
constexpr int64_t kTilesPerBlock = 8;
// Fewer panels or rows than this do not repay a copy of A.
constexpr int64_t kPanelsForCopy = 5;
constexpr int64_t kRowsForCopy = kTileRows / 2 + 1;
// Distance between the k of a copied tile: its rows, rounded up to whole vectors.
template <class T>
constexpr int64_t kTileStride = ceil_div(kTileRows, kLanes<T>) * kLanes<T>;

// Rows [i0, i1) of A over k [k0, k1) as `count` tiles one after the other, each (k1 - k0,
// kTileStride), for tiles that read columns.
template <class T>
void copy_tiles(const GemmBlock<T>& g, int64_t i0, int64_t i1, int64_t count, int64_t k0,
                int64_t k1, T* to) {
  constexpr int64_t S = kTileStride<T>;
  const int64_t rows = i1 - i0, depth = k1 - k0;
  if (!g.a_transposed) {
    for (int64_t n = 0; n < count; ++n) {
      const int64_t begin = i0 + rows * n / count, end = i0 + rows * (n + 1) / count;
      transpose<T>(end - begin, depth, g.a + begin * g.a_stride + k0, g.a_stride, to, S);
      to += S * depth;
    }
    return;
  }
  for (int64_t k = 0; k < depth; ++k) {  // a row of A, in order, feeds all tiles
    const T* from = g.a + (k0 + k) * g.a_stride;
    for (int64_t n = 0; n < count; ++n) {
      const int64_t begin = i0 + rows * n / count, end = i0 + rows * (n + 1) / count;
      T* line = to + (n * depth + k) * S;
      if (begin + S <= g.rows) {  // what is read after `end` still lies in this row of A
        for (int64_t i = 0; i < S; i += kLanes<T>) store<T>(line + i, load<T>(from + begin + i));
      } else {
        for (int64_t i = begin; i < end; ++i) line[i - begin] = from[i];
      }
    }
  }
}

// What the tiles of a block share.
template <class T>
struct TileLoop {
  int64_t depth, a_stride, panel_stride, c_stride;
  bool accumulate;
};

// R rows over P whole panels.
template <class T, int R, int P, AOrder O>
__attribute__((noinline)) void whole_tile(const TileLoop<T>& t, const T* a, const T* b, T* c) {
  for (int i = 0; i < R; ++i)
    for (int j = 0; j < P * kPanel<T>; j += 64 / static_cast<int>(sizeof(T)))
      __builtin_prefetch(c + i * t.c_stride + j, 1);
  tile<T, R, P, O>(t.depth, a, t.a_stride, b, kPanel<T>, t.panel_stride, c, t.c_stride,
                   t.accumulate);
}

// The same with the number of rows, 1 .. R, known only at run time.
template <class T, int R, int P, AOrder O>
inline void whole_tiles(int64_t rows, const TileLoop<T>& t, const T* a, const T* b, T* c) {
  if (rows == R) return whole_tile<T, R, P, O>(t, a, b, c);
  if constexpr (R > 1) whole_tiles<T, R - 1, P, O>(rows, t, a, b, c);
}

// The last panel, where C has fewer columns than the panel: the same tile on a copy of C.
template <class T, AOrder O>
void narrow_tile(int64_t rows, int64_t columns, const TileLoop<T>& t, const T* a, const T* b,
                 T* c) {
  constexpr int64_t W = kPanel<T>;
  alignas(64) T copy[kTileRows * W] = {};
  if (t.accumulate)
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j) copy[i * W + j] = c[i * t.c_stride + j];
  TileLoop<T> on_copy = t;
  on_copy.c_stride = W;
  whole_tiles<T, kTileRows, 1, O>(rows, on_copy, a, b, copy);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) c[i * t.c_stride + j] = copy[i * W + j];
}

// One tile's rows over all columns; few rows take several panels at once.
template <class T, AOrder O>
void row_of_tiles(int64_t rows, int64_t columns, const TileLoop<T>& t, const T* a, const T* b,
                  T* c) {
  constexpr int64_t W = kPanel<T>;
  const int at_once = panels_at_once(static_cast<int>(rows));
  int64_t j = 0;
  if (at_once == 4)
    for (; j + 4 * W <= columns; j += 4 * W)
      whole_tiles<T, kTileRows / 4, 4, O>(rows, t, a, b + j / W * t.panel_stride, c + j);
  if (at_once >= 2)
    for (; j + 2 * W <= columns; j += 2 * W)
      whole_tiles<T, kTileRows / 2, 2, O>(rows, t, a, b + j / W * t.panel_stride, c + j);
  for (; j + W <= columns; j += W)
    whole_tiles<T, kTileRows, 1, O>(rows, t, a, b + j / W * t.panel_stride, c + j);
  if (j < columns) narrow_tile<T, O>(rows, columns - j, t, a, b + j / W * t.panel_stride, c + j);
}

// `count` tiles that share `rows` rows evenly, over all columns. Tile n, which starts at row r,
// finds its A at a + r * row_step + n * tile_step.
template <class T, AOrder O>
void tiles(int64_t rows, int64_t count, int64_t columns, const TileLoop<T>& t, const T* a,
           int64_t row_step, int64_t tile_step, const T* b, T* c) {
  for (int64_t n = 0; n < count; ++n) {
    const int64_t begin = rows * n / count, end = rows * (n + 1) / count;
    row_of_tiles<T, O>(end - begin, columns, t, a + begin * row_step + n * tile_step, b,
                       c + begin * t.c_stride);
  }
}

template <class T>
void product(const GemmBlock<T>& g) {
  const bool copy = g.rows >= kRowsForCopy && g.columns > (kPanelsForCopy - 1) * kPanel<T>;
  const int64_t row_blocks = ceil_div(g.rows, kTilesPerBlock * kTileRows);
  const int64_t most_tiles = row_blocks > 1 ? kTilesPerBlock : ceil_div(g.rows, kTileRows);
  const int64_t depth_blocks = ceil_div(g.depth, kDepth<T> * kTilesPerBlock / most_tiles);
  for (int64_t kb = 0; kb < depth_blocks; ++kb) {
    const int64_t k0 = g.depth * kb / depth_blocks, k1 = g.depth * (kb + 1) / depth_blocks;
    const T* b = g.packed + k0 * kPanel<T>;
    TileLoop<T> t{k1 - k0, g.a_stride, g.panel_stride, g.c_stride, g.accumulate || kb > 0};
    if (copy) t.a_stride = kTileStride<T>;
    for (int64_t ib = 0; ib < row_blocks; ++ib) {
      const int64_t i0 = g.rows * ib / row_blocks, i1 = g.rows * (ib + 1) / row_blocks;
      const int64_t rows = i1 - i0, count = ceil_div(rows, kTileRows);
      T* c = g.c + i0 * g.c_stride;
      if (copy) {
        copy_tiles(g, i0, i1, count, k0, k1, g.scratch);
        tiles<T, AOrder::columns>(rows, count, g.columns, t, g.scratch, 0, t.depth * t.a_stride, b,
                                  c);
      } else if (g.a_transposed) {
        tiles<T, AOrder::columns>(rows, count, g.columns, t, g.a + k0 * g.a_stride + i0, 1, 0, b,
                                  c);
      } else {
        tiles<T, AOrder::rows>(rows, count, g.columns, t, g.a + i0 * g.a_stride + k0, g.a_stride, 0,
                               b, c);
      }
    }
  }
}

template <class T>
void pack_panel(const T* b, int64_t stride, bool transposed, int64_t depth, int64_t columns,
                T* panel) {
  constexpr int64_t W = kPanel<T>;
  if (columns == W && !transposed) {
    for (int64_t k = 0; k < depth; ++k)
      for (int64_t j = 0; j < W; j += kLanes<T>)
        store<T>(panel + k * W + j, load<T>(b + k * stride + j));
    return;
  }
  if (columns <= W - kLanes<T> || !transposed)
    for (int64_t i = 0; i < depth * W; i += kLanes<T>) store<T>(panel + i, Vec<T>{});
  if (transposed) {
    transpose<T>(columns, depth, b, stride, panel, W);
  } else {
    for (int64_t k = 0; k < depth; ++k)
      for (int64_t j = 0; j < columns; ++j) panel[k * W + j] = b[k * stride + j];
  }
}

template <class T>
GemmIsa<T> table() {
  return {kPanel<T>, kTilesPerBlock * kTileStride<T> * kDepth<T>, &product<T>, &pack_panel<T>};
}

}  // namespace

GemmIsa<float> gemm_f32() { return table<float>(); }
GemmIsa<double> gemm_f64() { return table<double>(); }

}  // namespace r1::cpu::R1_LEVEL
