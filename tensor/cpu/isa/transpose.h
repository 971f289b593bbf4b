// Transposing copy, the way to a panel or to the A of a tile from rows that run along k.
#pragma once

#include "tensor/cpu/isa/vec.h"

namespace r1::cpu::R1_LEVEL {

// a0 b0 a1 b1 ... of the lower (0) or upper (1) halves of a and b.
template <int Half, class V>
inline __attribute__((always_inline)) V zip(V a, V b) {
  constexpr int L = sizeof(V) / sizeof(a[0]), h = Half * L / 2;
  if constexpr (L == 2) {
    return __builtin_shufflevector(a, b, h, h + L);
  } else if constexpr (L == 4) {
    return __builtin_shufflevector(a, b, h, h + L, h + 1, h + 1 + L);
  } else if constexpr (L == 8) {
    return __builtin_shufflevector(a, b, h, h + L, h + 1, h + 1 + L, h + 2, h + 2 + L, h + 3,
                                   h + 3 + L);
  } else {
    return __builtin_shufflevector(a, b, h, h + L, h + 1, h + 1 + L, h + 2, h + 2 + L, h + 3,
                                   h + 3 + L, h + 4, h + 4 + L, h + 5, h + 5 + L, h + 6, h + 6 + L,
                                   h + 7, h + 7 + L);
  }
}

// Transposes L vectors of L lanes: log2(L) rounds of zipping row i with row i + L/2.
template <class T>
inline __attribute__((always_inline)) void transpose_lanes(Vec<T>* v) {
  constexpr int L = kLanes<T>;
#pragma GCC unroll 4
  for (int round = 1; round < L; round *= 2) {
    Vec<T> z[L];
#pragma GCC unroll 8
    for (int i = 0; i < L / 2; ++i) {
      z[2 * i] = zip<0>(v[i], v[i + L / 2]);
      z[2 * i + 1] = zip<1>(v[i], v[i + L / 2]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) v[i] = z[i];
  }
}

// dst[k * dst_stride + i] = src[i * src_stride + k] for i in [0, rows), k in [0, depth). Up to the
// next multiple of the lanes after `rows`, dst is filled with zeros.
template <class T>
inline void transpose(int64_t rows, int64_t depth, const T* src, int64_t src_stride, T* dst,
                      int64_t dst_stride) {
  constexpr int L = kLanes<T>;
  for (int64_t i = 0; i < rows; i += L) {
    const int filled = static_cast<int>(rows - i < L ? rows - i : L);
    const T* s = src + i * src_stride;
    for (int64_t k = 0; k < depth; k += L) {
      const int wide = static_cast<int>(depth - k < L ? depth - k : L);
      Vec<T> v[L];
      if (filled == L && wide == L) {
#pragma GCC unroll 16
        for (int r = 0; r < L; ++r) v[r] = load<T>(s + r * src_stride + k);
      } else {
        for (int r = 0; r < L; ++r)
          v[r] = r >= filled ? Vec<T>{}
                 : wide == L ? load<T>(s + r * src_stride + k)
                             : load_part<T>(s + r * src_stride + k, wide);
      }
      transpose_lanes<T>(v);
      T* d = dst + k * dst_stride + i;
      if (wide == L) {
#pragma GCC unroll 16
        for (int r = 0; r < L; ++r) store<T>(d + r * dst_stride, v[r]);
      } else {
        for (int r = 0; r < wide; ++r) store<T>(d + r * dst_stride, v[r]);
      }
    }
  }
}

}  // namespace r1::cpu::R1_LEVEL
