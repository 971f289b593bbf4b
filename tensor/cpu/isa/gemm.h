// The matrix product of one instruction-set level, single-threaded.
#pragma once

#include <stdint.h>

namespace r1::cpu {

// A block of C (rows, columns) (+)= A (rows, depth) B (depth, columns), where every element is one
// chain of fused multiply-adds over the depth. B is packed: panel p holds columns
// [p * panel, (p + 1) * panel) at packed + p * panel_stride, as depth rows of `panel` numbers,
// with zeros after the last column.
template <class T>
struct GemmBlock {
  int64_t rows = 0, columns = 0, depth = 0;
  const T* a = nullptr;
  bool a_transposed = false;  // element (i, k) is a[k * a_stride + i], not a[i * a_stride + k]
  int64_t a_stride = 0;
  const T* packed = nullptr;
  int64_t panel_stride = 0;
  T* c = nullptr;
  int64_t c_stride = 0;
  bool accumulate = false;  // start the chains from C
  T* scratch = nullptr;     // GemmIsa::scratch numbers, 64-byte aligned
};

template <class T>
struct GemmIsa {
  int64_t panel;    // columns of a panel
  int64_t scratch;  // numbers of scratch memory that `product` needs
  void (*product)(const GemmBlock<T>& block);
  // One panel of B: element (k, j), j < columns <= panel, is b[k * stride + j], or
  // b[j * stride + k] when transposed.
  void (*pack_panel)(const T* b, int64_t stride, bool transposed, int64_t depth, int64_t columns,
                     T* panel);
};

}  // namespace r1::cpu
