// Matrix products at the shapes of a 135 M parameter model (D 576, MLP 1536, vocabulary 49152) and
// at tiny ones, as shares of the peak measured in the same run.
#include <fmt/format.h>

#include <cstdint>
#include <vector>

#include "bench/bench.h"
#include "bench/peak.h"
#include "tensor/kernels.h"
#include "tensor/random.h"

namespace r1::bench {
namespace {

using std::int64_t;

Tensor random_matrix(int64_t rows, int64_t columns, DType dtype) {
  const Random random(1, Purpose::test);
  std::vector<float> v(static_cast<std::size_t>(rows * columns));
  for (std::size_t i = 0; i < v.size(); ++i)
    v[i] = static_cast<float>(random.at(static_cast<std::uint32_t>(i))[0]) * 0x1p-32f - 0.5f;
  return Tensor::from(std::span<const float>(v), {rows, columns}).cast(dtype);
}

struct Product {
  const char* what;
  int64_t m, n, k;
};

void report(const char* what, const Product& s, const Timing& t, double peak) {
  const double work = 2e-9 * static_cast<double>(s.m * s.n * s.k);
  fmt::print("  {:<22} {:>6} x {:>6} x {:>6}  median {:5.1f} %  best {:5.1f} %  {:8.3f} ms\n", what,
             s.m, s.n, s.k, 100 * work / t.median / peak, 100 * work / t.best / peak,
             1e3 * t.median);
}

// y = x W^T with W packed before.
void packed_products(double peak) {
  const Kernels& k = kernels();
  std::vector<Product> shapes;
  for (const int64_t m : {8, 64, 512, 2048}) {
    shapes.push_back({"", m, 576, 576});
    shapes.push_back({"", m, 1536, 576});
    shapes.push_back({"", m, 576, 1536});
  }
  for (const int64_t m : {2, 4, 16, 32}) shapes.push_back({"", m, 1536, 576});
  shapes.push_back({"", 512, 49152, 576});
  shapes.push_back({"", 4096, 64, 64});
  shapes.push_back({"", 5120, 64, 64});
  shapes.push_back({"", 5120, 160, 64});
  shapes.push_back({"", 5120, 64, 160});
  for (const Product& s : shapes) {
    const Tensor x = random_matrix(s.m, s.k, DType::f32);
    const Tensor w = k.pack(random_matrix(s.n, s.k, DType::f32), Transpose::yes);
    Tensor y = Tensor::empty({s.m, s.n}, DType::f32);
    report("packed", s, time_calls([&] { k.matmul_packed(x, w, s.n, y, false); }), peak);
  }
}

// dX = dY W and dW += dY^T X of a layer W (out, in), over m tokens.
void gradient_products(double peak) {
  const Kernels& k = kernels();
  const Product layers[] = {{"", 1024, 576, 576},  {"", 1024, 1536, 576}, {"", 1024, 576, 1536},
                            {"", 256, 49152, 576}, {"", 5120, 64, 64},    {"", 5120, 160, 64}};
  for (const Product& s : layers) {
    const Tensor dy = random_matrix(s.m, s.n, DType::f32), x = random_matrix(s.m, s.k, DType::f32);
    const Tensor w = random_matrix(s.n, s.k, DType::f32);
    Tensor dx = Tensor::empty({s.m, s.k}, DType::f32), dw = Tensor::zeros({s.n, s.k}, DType::f32);
    report("dX = dY W", {"", s.m, s.k, s.n},
           time_calls([&] { k.matmul(dy, Transpose::no, w, Transpose::no, dx, false); }), peak);
    report("dW += dY^T X", {"", s.n, s.k, s.m},
           time_calls([&] { k.matmul(dy, Transpose::yes, x, Transpose::no, dw, true); }), peak);
    report("Y = X W^T, not packed", {"", s.m, s.n, s.k}, time_calls([&] {
             Tensor y = Tensor::empty({s.m, s.n}, DType::f32);
             k.matmul(x, Transpose::no, w, Transpose::yes, y, false);
           }),
           peak);
  }
  const Tensor a = random_matrix(512, 512, DType::f64);
  Tensor c = Tensor::empty({512, 512}, DType::f64);
  report("f64", {"", 512, 512, 512},
         time_calls([&] { k.matmul(a, Transpose::no, a, Transpose::no, c, false); }), peak / 2);
}

// One row reads every weight once; packing reads and writes every weight once.
void memory_products(double bandwidth) {
  const Kernels& k = kernels();
  for (const Product& s :
       {Product{"", 1, 576, 576}, Product{"", 1, 1536, 576}, Product{"", 1, 576, 1536},
        Product{"", 1, 49152, 576}, Product{"", 2, 49152, 576}, Product{"", 4, 49152, 576}}) {
    const Tensor x = random_matrix(s.m, s.k, DType::f32);
    const Tensor w = random_matrix(s.n, s.k, DType::f32);
    const Tensor packed = k.pack(w, Transpose::yes);
    Tensor y = Tensor::empty({s.m, s.n}, DType::f32);
    const double bytes = 4e-9 * static_cast<double>(s.n * s.k);
    const Timing t = time_calls([&] { k.matmul_packed(x, packed, s.n, y, false); });
    fmt::print(
        "  {} row{} {:>6} x {:>5}  median {:6.1f} GB/s ({:4.0f} % of memory)  best {:6.1f}\n", s.m,
        s.m > 1 ? "s" : " ", s.n, s.k, bytes / t.median, 100 * bytes / t.median / bandwidth,
        bytes / t.best);
    if (s.m > 1) continue;
    const Timing p = time_calls([&] { k.pack(w, Transpose::yes); });
    fmt::print(
        "  pack   {:>6} x {:>5}  median {:6.1f} GB/s read and as much written  best {:6.1f}\n", s.n,
        s.k, bytes / p.median, bytes / p.best);
  }
}

}  // namespace

void gemm_bench(int threads) {
  const double peak = fma_peak(threads), bandwidth = read_bandwidth(threads);
  fmt::print(
      "gemm, {} thread{}: peak {:.0f} GFLOP/s ({} vectors), memory {:.1f} GB/s; f32, M x N x K\n",
      threads, threads > 1 ? "s" : "", peak, widest_vectors(), bandwidth);
  packed_products(peak);
  gradient_products(peak);
  memory_products(bandwidth);
}

}  // namespace r1::bench
