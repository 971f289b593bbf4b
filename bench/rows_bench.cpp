// Row-wise kernels in f32 at the shapes of a 135 M parameter model, as GB/s of the memory that each
// must read and write once, and as shares of the read bandwidth measured in the same run. Above
// 100 % the numbers came from the caches.
#include <fmt/format.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "bench/bench.h"
#include "bench/peak.h"
#include "tensor/kernels.h"
#include "tensor/random.h"

namespace r1::bench {
namespace {

using std::int64_t;

Tensor random_rows(const Shape& shape, double scale = 4) {
  const Random random(2, Purpose::test);
  Tensor t = Tensor::empty(shape, DType::f32);
  float* p = t.data<float>();
  for (int64_t i = 0; i < t.numel(); ++i)
    p[i] = static_cast<float>(scale * (random.uniform(static_cast<std::uint32_t>(i)) - 0.5));
  return t;
}

Tensor some_ids(int64_t n, std::uint32_t below) {
  const Random random(3, Purpose::test);
  Tensor t = Tensor::empty({n}, DType::i32);
  for (int64_t i = 0; i < n; ++i)
    t.data<std::int32_t>()[i] =
        static_cast<std::int32_t>(random.below(below, static_cast<std::uint32_t>(i)));
  return t;
}

class Report {
 public:
  explicit Report(double peak) : peak_(peak) {}
  // `numbers` f32 numbers move between memory and the cores in one call.
  template <class F>
  void operator()(const char* what, const Shape& shape, int64_t numbers, F&& f) const {
    const Timing t = time_calls(f, 0.2);
    const double gb = 4e-9 * static_cast<double>(numbers) / t.median;
    fmt::print("  {:<22} {:<14} {:9.3f} ms {:7.1f} GB/s {:6.1f} %\n", what, shape.str(),
               1e3 * t.median, gb, 100 * gb / peak_);
  }

 private:
  double peak_;
};

void norm_and_gate(const Kernels& k, const Report& report) {
  const int64_t N = 1024, D = 576, H = 9, F = 1536;
  const Tensor x = random_rows({N, D}), w = random_rows({D}), dy = random_rows({N, D});
  Tensor y = Tensor::empty_like(x), rstd = Tensor::empty({N}, DType::f32), none;
  Tensor dx = random_rows({N, D}), dw = random_rows({D});
  const int64_t n = N * D;
  report("rms_norm_forward", x.shape(), 2 * n, [&] { k.rms_norm_forward(x, w, 1e-5, y, rstd); });
  report("rms_norm_backward dx", x.shape(), 4 * n,
         [&] { k.rms_norm_backward(dy, x, w, rstd, dx, none); });
  report("rms_norm_backward dw", x.shape(), 2 * n,
         [&] { k.rms_norm_backward(dy, x, w, rstd, none, dw); });
  const Tensor narrow = random_rows({5120, 64});
  Tensor sums = random_rows({64});
  report("sum_rows", narrow.shape(), narrow.numel(), [&] { k.sum_rows(narrow, sums); });
  const Tensor positions = some_ids(N, 2048), angles = random_rows({2048, D / H / 2});
  report("rope", x.shape(), 2 * n, [&] { k.rope(x, positions, angles, angles, H, false, y); });
  const Tensor gate = random_rows({N, F}, 20), up = random_rows({N, F}), g = random_rows({N, F});
  Tensor out = Tensor::empty_like(gate), out2 = Tensor::empty_like(gate);
  report("swiglu_forward", gate.shape(), 3 * N * F, [&] { k.swiglu_forward(gate, up, out); });
  report("swiglu_backward", gate.shape(), 5 * N * F,
         [&] { k.swiglu_backward(g, gate, up, out, out2); });
}

void vocabulary(const Kernels& k, const Report& report) {
  const int64_t N = 512, V = 49152, D = 576, B = 32;
  Tensor logits = random_rows({N, V}, 20);
  const Tensor targets = some_ids(N, V);
  Tensor logprob = random_rows({N}), lse = random_rows({N}), entropy = random_rows({N}), none;
  report("logprob_forward", logits.shape(), N * V,
         [&] { k.logprob_forward(logits, targets, 1, logprob, lse, none); });
  report("  with entropy", logits.shape(), N * V,
         [&] { k.logprob_forward(logits, targets, 1, logprob, lse, entropy); });
  const Tensor g = random_rows({N});
  report("logprob_backward", logits.shape(), 2 * N * V,
         [&] { k.logprob_backward(g, targets, lse, 1, logits); });

  const Tensor few = random_rows({B, V}, 20);
  Tensor ids = some_ids(B, V), drawn = random_rows({B});
  const auto sample = [&](const char* what, SampleRow options) {
    std::vector<SampleRow> rows(B, options);
    for (int64_t b = 0; b < B; ++b)
      rows[static_cast<std::size_t>(b)].uniform = static_cast<double>(b) / static_cast<double>(B);
    report(what, few.shape(), B * V, [&] { k.sample(few, rows, V, ids, drawn); });
  };
  sample("sample", {});
  sample("sample greedy", {.temperature = 0});
  sample("sample top_p 0.95", {.top_p = 0.95});
  sample("sample top_k 50", {.top_k = 50});
  sample("sample min_p 0.1", {.min_p = 0.1});

  const Tensor dy = random_rows({1024, D}), many = some_ids(1024, V);
  Tensor table = random_rows({V, D}), rows = Tensor::empty_like(dy);
  report("gather_rows", table.shape(), 2 * 1024 * D, [&] { k.gather_rows(table, many, rows); });
  report("scatter_add_rows", table.shape(), 3 * 1024 * D,
         [&] { k.scatter_add_rows(dy, many, table); });
}

void flat(const Kernels& k, const Report& report) {
  const int64_t n = 16 * 1024 * 1024;
  const Tensor g = random_rows({n}, 0.1);
  Tensor p = random_rows({n}), m = random_rows({n}), v = Tensor::full({n}, 0.1, DType::f32);
  report("adamw", g.shape(), 7 * n, [&] { k.adamw({.lr = 1e-4, .step = 10}, g, p, m, v); });
  report("axpy", g.shape(), 3 * n, [&] { k.axpy(0.5, g, p); });
  report("fill", g.shape(), n, [&] { k.fill(p, 1); });
  report("sum_of_squares", g.shape(), n, [&] { k.sum_of_squares(g); });
  report("all_finite", g.shape(), n, [&] { k.all_finite(g); });
  Tensor half = Tensor::empty({n}, DType::bf16);
  report("copy f32 to bf16", g.shape(), n + n / 2, [&] { k.copy(g, half); });
  report("copy bf16 to f32", g.shape(), n + n / 2, [&] { k.copy(half, p); });
}

}  // namespace

void rows_bench(int threads) {
  const double peak = read_bandwidth(threads);
  fmt::print("row-wise kernels, {} threads, read bandwidth {:.1f} GB/s\n", threads, peak);
  const Kernels& k = kernels();
  const Report report(peak);
  norm_and_gate(k, report);
  vocabulary(k, report);
  flat(k, report);
}

}  // namespace r1::bench
