#include <atomic>
#include <cstring>
#include <vector>

#include "tensor/cpu/rows_ops.h"

namespace r1::cpu {
namespace {

// Sums are made of blocks of this many numbers, counted from 0, added in order.
constexpr std::int64_t kSumBlock = 4096;

template <class To, class From>
To convert(From x) {
  return static_cast<To>(x);
}
template <>
float convert<float, bf16>(bf16 x) {
  return static_cast<float>(x);
}
template <>
double convert<double, bf16>(bf16 x) {
  return static_cast<float>(x);
}
template <>
bf16 convert<bf16, float>(float x) {
  return bf16(x);
}
// Rounded once: the double becomes the float towards zero with its last bit set where bits were
// lost ("round to odd"), and from there the rounding to bf16 is that of the double.
template <>
bf16 convert<bf16, double>(double x) {
  const auto f = static_cast<float>(x);
  const auto back = static_cast<double>(f);
  if (back == x || x != x) return bf16(f);
  auto u = std::bit_cast<std::uint32_t>(f);
  if ((back > x) == (x > 0)) --u;
  return bf16(std::bit_cast<float>(u | 1u));
}

template <class From, class To>
void convert_all(const Tensor& x, Tensor& y) {
  const From* in = x.data<From>();
  To* out = y.data<To>();
  parallel_ranges(x.numel(), kTaskNumbers, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) out[i] = convert<To>(in[i]);
  });
}

template <class From>
void convert_from(const Tensor& x, Tensor& y) {
  switch (y.dtype()) {
    case DType::f32:
      return convert_all<From, float>(x, y);
    case DType::f64:
      return convert_all<From, double>(x, y);
    case DType::bf16:
      return convert_all<From, bf16>(x, y);
    default:
      fail("copy: from {} to {} is not supported", name_of(x.dtype()), name_of(y.dtype()));
  }
}

template <class T>
void fill_with(Tensor& y, T value) {
  T* p = y.data<T>();
  parallel_ranges(y.numel(), kTaskNumbers, [&](std::int64_t begin, std::int64_t end) {
    std::fill(p + begin, p + end, value);
  });
}

// True when no exponent is all ones.
template <class T, class Bits>
bool finite(const Tensor& x, Bits exponent) {
  const T* p = x.data<T>();
  std::atomic<bool> found{false};
  parallel_ranges(x.numel(), kTaskNumbers, [&](std::int64_t begin, std::int64_t end) {
    Bits bad = 0;
    for (std::int64_t i = begin; i < end; ++i) {
      const auto bits = static_cast<Bits>(std::bit_cast<Bits>(p[i]) & exponent);
      bad = static_cast<Bits>(bad | (bits == exponent ? 1 : 0));
    }
    if (bad != 0) found.store(true, std::memory_order_relaxed);
  });
  return !found.load();
}

template <class T, class Block>
double sum_blocks(const Tensor& x, Block block) {
  const T* p = x.data<T>();
  const std::int64_t n = x.numel();
  if (n <= kSumBlock) return block(n, p);
  std::vector<double> sums(static_cast<std::size_t>((n + kSumBlock - 1) / kSumBlock));
  parallel_ranges(n, kTaskNumbers, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; i += kSumBlock)
      sums[static_cast<std::size_t>(i / kSumBlock)] = block(std::min(kSumBlock, end - i), p + i);
  });
  double total = 0;
  for (double s : sums) total += s;
  return total;
}
static_assert(kTaskNumbers % kSumBlock == 0);

template <class F>
void on_chunks(std::int64_t n, F&& f) {
  parallel_ranges(n, kTaskNumbers, f);
}

}  // namespace

void fill(Tensor& y, double value) {
  switch (y.dtype()) {
    case DType::f32:
      return fill_with(y, static_cast<float>(value));
    case DType::f64:
      return fill_with(y, value);
    case DType::bf16:
      return fill_with(y, convert<bf16>(value));
    case DType::i32:
      return fill_with(y, static_cast<std::int32_t>(value));
  }
}

void copy(const Tensor& x, Tensor& y) {
  if (x.dtype() == y.dtype()) {
    if (x.bytes() > 0) std::memmove(y.raw(), x.raw(), x.bytes());
    return;
  }
  switch (x.dtype()) {
    case DType::f32:
      return convert_from<float>(x, y);
    case DType::f64:
      return convert_from<double>(x, y);
    case DType::bf16:
      return convert_from<bf16>(x, y);
    case DType::i32:
      fail("copy: from i32 to {} is not supported", name_of(y.dtype()));
  }
}

void unary(Unary op, const Tensor& x, Tensor& y) {
  dispatch_float(x.dtype(), "unary", [&]<class T>() {
    const auto f = row_isa<T>().unary[static_cast<int>(op)];
    const T* in = x.data<T>();
    T* out = y.data<T>();
    on_chunks(x.numel(), [&](std::int64_t i, std::int64_t end) { f(end - i, in + i, out + i); });
  });
}

void binary(Binary op, const Tensor& a, const Tensor& b, Tensor& y) {
  dispatch_float(a.dtype(), "binary", [&]<class T>() {
    const auto f = row_isa<T>().binary[static_cast<int>(op)];
    const T *p = a.data<T>(), *q = b.data<T>();
    T* out = y.data<T>();
    on_chunks(a.numel(),
              [&](std::int64_t i, std::int64_t end) { f(end - i, p + i, q + i, out + i); });
  });
}

void affine(const Tensor& x, double scale, double shift, Tensor& y) {
  dispatch_float(x.dtype(), "affine", [&]<class T>() {
    const T* in = x.data<T>();
    T* out = y.data<T>();
    on_chunks(x.numel(), [&](std::int64_t i, std::int64_t end) {
      row_isa<T>().affine(end - i, in + i, static_cast<T>(scale), static_cast<T>(shift), out + i);
    });
  });
}

void clamp(const Tensor& x, double low, double high, Tensor& y) {
  dispatch_float(x.dtype(), "clamp", [&]<class T>() {
    const T* in = x.data<T>();
    T* out = y.data<T>();
    on_chunks(x.numel(), [&](std::int64_t i, std::int64_t end) {
      row_isa<T>().clamp(end - i, in + i, static_cast<T>(low), static_cast<T>(high), out + i);
    });
  });
}

void clamp_backward(const Tensor& dy, const Tensor& x, double low, double high, Tensor& dx) {
  dispatch_float(x.dtype(), "clamp_backward", [&]<class T>() {
    const T *g = dy.data<T>(), *in = x.data<T>();
    T* out = dx.data<T>();
    on_chunks(x.numel(), [&](std::int64_t i, std::int64_t end) {
      row_isa<T>().clamp_backward(end - i, g + i, in + i, static_cast<T>(low), static_cast<T>(high),
                                  out + i);
    });
  });
}

void axpy(double alpha, const Tensor& x, Tensor& y) {
  dispatch_float(x.dtype(), "axpy", [&]<class T>() {
    const T* in = x.data<T>();
    T* out = y.data<T>();
    on_chunks(x.numel(), [&](std::int64_t i, std::int64_t end) {
      row_isa<T>().axpy(end - i, static_cast<T>(alpha), in + i, out + i);
    });
  });
}

void sum(const Tensor& x, Tensor& y) {
  dispatch_float(x.dtype(), "sum", [&]<class T>() {
    y.data<T>()[0] = static_cast<T>(sum_blocks<T>(x, row_isa<T>().sum));
  });
}

double sum_of_squares(const Tensor& x) {
  return dispatch_float(x.dtype(), "sum_of_squares",
                        [&]<class T>() { return sum_blocks<T>(x, row_isa<T>().sum_of_squares); });
}

bool all_finite(const Tensor& x) {
  switch (x.dtype()) {
    case DType::f32:
      return finite<float>(x, std::uint32_t{0x7f800000u});
    case DType::f64:
      return finite<double>(x, std::uint64_t{0x7ff0000000000000u});
    case DType::bf16:
      return finite<bf16>(x, std::uint16_t{0x7f80u});
    case DType::i32:
      return true;
  }
  return true;
}

void add_rows(const Tensor& bias, Tensor& y) {
  dispatch_float(y.dtype(), "add_rows", [&]<class T>() {
    const auto add = row_isa<T>().binary[static_cast<int>(Binary::add)];
    const std::int64_t D = y.cols();
    const T* b = bias.data<T>();
    T* out = y.data<T>();
    parallel_rows(y.rows(), D, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t n = begin; n < end; ++n) add(D, out + n * D, b, out + n * D);
    });
  });
}

void sum_rows(const Tensor& x, Tensor& y) {
  dispatch_float(x.dtype(), "sum_rows", [&]<class T>() {
    const std::int64_t N = x.rows(), D = x.cols();
    const T* in = x.data<T>();
    T* out = y.data<T>();
    parallel_columns(N, D, [&](std::int64_t c, std::int64_t end) {
      row_isa<T>().add_columns(N, end - c, D, in + c, out + c);
    });
  });
}

}  // namespace r1::cpu
