#include <cstring>

#include "tensor/cpu/rows_ops.h"

namespace r1::cpu {

void gather_rows(const Tensor& table, const Tensor& ids, Tensor& y) {
  R1_CHECK(table.dtype() == y.dtype(), "gather_rows: from {} to {}, use one dtype",
           name_of(table.dtype()), name_of(y.dtype()));
  const std::int64_t D = table.cols();
  const auto row_bytes = static_cast<std::size_t>(D) * size_of(table.dtype());
  const auto* from = static_cast<const std::byte*>(table.raw());
  auto* to = static_cast<std::byte*>(y.raw());
  const std::int32_t* id = ids.data<std::int32_t>();
  parallel_rows(ids.numel(), D, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      std::memcpy(to + static_cast<std::size_t>(n) * row_bytes,
                  from + static_cast<std::size_t>(id[n]) * row_bytes, row_bytes);
    }
  });
}

// Threads own columns, not rows of dy: an id may occur in many rows, and its sum is one chain.
void scatter_add_rows(const Tensor& dy, const Tensor& ids, Tensor& dtable) {
  dispatch_float(dy.dtype(), "scatter_add_rows", [&]<class T>() {
    const auto add = row_isa<T>().binary[static_cast<int>(Binary::add)];
    const std::int64_t N = ids.numel(), D = dy.cols();
    const T* g = dy.data<T>();
    T* out = dtable.data<T>();
    const std::int32_t* id = ids.data<std::int32_t>();
    parallel_columns(N, D, [&](std::int64_t c, std::int64_t end) {
      for (std::int64_t n = 0; n < N; ++n) {
        T* row = out + id[n] * D + c;
        add(end - c, row, g + n * D + c, row);
      }
    });
  });
}

}  // namespace r1::cpu
