// Attention at the shapes of a 135 M parameter model and of a tiny one: multiply-adds of the causal
// half as shares of the peak, decoding as a share of the memory bandwidth, measured in the same
// run.
#include <fmt/format.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "bench/bench.h"
#include "bench/peak.h"
#include "tensor/cpu/attention.h"
#include "tensor/random.h"

namespace r1::bench {
namespace {

using std::int64_t;

Tensor random_rows(int64_t rows, int64_t columns, std::uint32_t stream) {
  const Random random(1, Purpose::test);
  std::vector<float> v(static_cast<std::size_t>(rows * columns));
  for (std::size_t i = 0; i < v.size(); ++i)
    v[i] = static_cast<float>(random.at(static_cast<std::uint32_t>(i), stream)[0]) * 0x1p-31f - 1;
  return Tensor::from(std::span<const float>(v), {rows, columns});
}

AttentionShape heads(int64_t query, int64_t kv, int64_t dim) {
  return {query, kv, dim, dim, 1 / std::sqrt(static_cast<double>(dim))};
}

// `count` segments of `length` tokens, after a prompt of `prompt` tokens that all of them share.
void packed(const char* what, int64_t count, int64_t length, int64_t prompt,
            const AttentionShape& s, double peak) {
  std::vector<Segment> segments;
  if (prompt > 0) segments.push_back({0, prompt, 0, 0});
  for (int64_t i = 0; i < count; ++i) segments.push_back({prompt + i * length, length, 0, prompt});
  const int64_t n = prompt + count * length;
  double pairs = 0;  // of a query and a key that it sees
  for (const Segment& g : segments)
    pairs += static_cast<double>(s.heads * g.length) *
             (static_cast<double>(g.prefix_length) + 0.5 * static_cast<double>(g.length + 1));
  const Tensor q = random_rows(n, s.heads * s.key_dim, 1);
  const Tensor k = random_rows(n, s.kv_heads * s.key_dim, 2);
  const Tensor v = random_rows(n, s.kv_heads * s.value_dim, 3);
  const Tensor dout = random_rows(n, s.heads * s.value_dim, 4);
  Tensor o = Tensor::empty_like(dout), lse = Tensor::empty({s.heads, n}, DType::f32);
  Tensor dq = Tensor::empty_like(q), dk = Tensor::empty_like(k), dv = Tensor::empty_like(v);
  const Timing forward = time_calls([&] { cpu::attention_forward(q, k, v, segments, s, o, lse); });
  const Timing backward =
      time_calls([&] { cpu::attention_backward(dout, q, k, v, o, lse, segments, s, dq, dk, dv); });
  const auto report = [&](const char* pass, const Timing& t, double products) {
    const double work = 2e-9 * pairs * products * static_cast<double>(s.key_dim);
    fmt::print("  {:<34} {:<8}  median {:5.1f} %  best {:5.1f} %  {:8.1f} GFLOP/s  {:8.3f} ms\n",
               what, pass, 100 * work / t.median / peak, 100 * work / t.best / peak,
               work / t.median, 1e3 * t.median);
  };
  report("forward", forward, 2);
  report("backward", backward, 5);
}

// One new token of every slot, in as many layers as keep the caches out of the processor's own.
void decode(int64_t slots, int64_t keys, const AttentionShape& s, double bandwidth) {
  constexpr int kLayers = 16;
  const auto sizes = cpu::cache_sizes(s, slots, keys);
  std::vector<Tensor> key_caches, value_caches;
  for (int l = 0; l < kLayers; ++l) {
    key_caches.push_back(Tensor::full({sizes.key_numbers}, 0.1, DType::f32));
    value_caches.push_back(Tensor::full({sizes.value_numbers}, 0.1, DType::f32));
  }
  const Tensor q = random_rows(slots, s.heads * s.key_dim, 1);
  Tensor o = Tensor::empty({slots, s.heads * s.value_dim}, DType::f32);
  std::vector<CacheRows> rows;
  for (int64_t i = 0; i < slots; ++i) rows.push_back({i, 1, i, keys - 1});
  const Timing t = time_calls([&] {
    for (std::size_t l = 0; l < kLayers; ++l)
      cpu::attention_cached(q, key_caches[l], value_caches[l], rows, s, keys, o);
  });
  const double gigabytes = 4e-9 * kLayers * static_cast<double>(slots * s.kv_heads * keys) *
                           static_cast<double>(s.key_dim + s.value_dim);
  fmt::print(
      "  decode {} slots x {} keys: {:.1f} GB/s, {:.0f} % of the bandwidth, {:.3f} ms a layer\n",
      slots, keys, gigabytes / t.median, 100 * gigabytes / t.median / bandwidth,
      1e3 * t.median / kLayers);
}

}  // namespace

void attention_bench(int threads) {
  const double peak = fma_peak(threads), bandwidth = read_bandwidth(threads);
  fmt::print("attention, f32, {} thread(s): peak {:.1f} GFLOP/s ({}), reading {:.1f} GB/s\n",
             threads, peak, widest_vectors(), bandwidth);
  const AttentionShape small = heads(9, 3, 64), tiny = heads(4, 4, 16);
  packed("4 x 256, H 9, G 3, d 64", 4, 256, 0, small, peak);
  packed("1 x 512, H 9, G 3, d 64", 1, 512, 0, small, peak);
  packed("1 x 2048, H 9, G 3, d 64", 1, 2048, 0, small, peak);
  packed("128 + 8 x 128, H 9, G 3, d 64", 8, 128, 128, small, peak);
  packed("128 x 40, H 4, d 16", 128, 40, 0, tiny, peak);
  packed("20 + 128 x 20, H 4, d 16", 128, 20, 20, tiny, peak);
  decode(32, 320, small, bandwidth);
  decode(1, 8192, small, bandwidth);
}

}  // namespace r1::bench
