// Ways into and out of the layouts of attention.h, and the table of this level.
#include "tensor/cpu/isa/attention_tile.h"
#include "tensor/cpu/isa/level.h"

namespace r1::cpu::R1_LEVEL {

template <class T>
void attention_pack_panels(const T* src, int64_t src_stride, int64_t n, int64_t dim, int64_t first,
                           bool last, T* panels) {
  constexpr int L = kLanes<T>;
  while (n > 0) {
    const int64_t column = first % kKeyPanel, room = kKeyPanel - column;
    T* dst = panels + first / kKeyPanel * kKeyPanel * dim + column;
    int64_t rows = min_of(n, room);
    // transpose() clears the rest of the last vector it writes.
    const bool whole = last && rows == n && (rows + L - 1) / L * L <= room;
    if (rows >= L || whole) {
      if (!whole) rows = rows / L * L;
      transpose<T>(rows, dim, src, src_stride, dst, kKeyPanel);
    } else {
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t d = 0; d < dim; ++d) dst[d * kKeyPanel + i] = src[i * src_stride + d];
    }
    src += rows * src_stride;
    first += rows;
    n -= rows;
  }
}

template <class T>
void attention_pack_rows(const T* src, int64_t src_stride, int64_t n, int64_t dim, T* rows) {
  for (int64_t i = 0; i < n; ++i) copy_padded<T>(src + i * src_stride, dim, rows + i * padded(dim));
}

template <class T>
void attention_unpack_rows(const T* x, int64_t n, int64_t dim, bool accumulate, T* y,
                           int64_t y_stride) {
  constexpr int L = kLanes<T>;
  for (int64_t i = 0; i < n; ++i, x += padded(dim), y += y_stride) {
    int64_t j = 0;
    for (; j + L <= dim; j += L)
      store<T>(y + j, accumulate ? load<T>(y + j) + load<T>(x + j) : load<T>(x + j));
    for (; j < dim; ++j) y[j] = accumulate ? y[j] + x[j] : x[j];
  }
}

template void attention_unpack_rows<float>(const float*, int64_t, int64_t, bool, float*, int64_t);
template void attention_unpack_rows<double>(const double*, int64_t, int64_t, bool, double*,
                                            int64_t);

template <class T>
AttentionIsa<T> attention_table() {
  return {&attention_pack_panels<T>,  &attention_pack_rows<T>,     &attention_unpack_rows<T>,
          &attention_forward_scratch, &attention_backward_scratch, &attention_forward<T>,
          &attention_backward<T>};
}

AttentionIsa<float> attention_f32() { return attention_table<float>(); }
AttentionIsa<double> attention_f64() { return attention_table<double>(); }

}  // namespace r1::cpu::R1_LEVEL
