#include <algorithm>

#include "autograd/ops.h"

namespace r1 {
namespace {

// Rows of logits made at a time: enough for a fast product, small enough to stay cheap.
constexpr std::size_t kChunkBytes = std::size_t{48} << 20;

std::int64_t chunk_rows(std::int64_t N, std::int64_t V, DType t) {
  const auto row = static_cast<std::size_t>(std::max<std::int64_t>(V, 1)) * size_of(t);
  const auto fit = static_cast<std::int64_t>(kChunkBytes / row) / 16 * 16;
  return std::clamp<std::int64_t>(fit, 16, std::max<std::int64_t>(N, 16));
}

}  // namespace

// z = h w^T / T, lse = log sum exp z, logprob = z[target] - lse.
// With g = d loss / d logprob: dlogits = g (onehot(target) - exp(z - lse)) / T,
// dh = dlogits w, dw += dlogits^T h.
Logprobs linear_logprob(const Tensor& h, Parameter& w, const Tensor& targets,
                        const LogprobOptions& options) {
  R1_CHECK(h.rank() == 2 && w.value.rank() == 2 && h.dim(1) == w.value.dim(1) &&
               h.dtype() == w.value.dtype(),
           "linear_logprob: h {} {} does not fit the head {} {}", name_of(h.dtype()), h.shape(),
           name_of(w.value.dtype()), w.value.shape());
  const std::int64_t N = h.dim(0), V = w.value.dim(0);
  R1_CHECK(targets.rank() == 1 && targets.numel() == N && targets.dtype() == DType::i32,
           "linear_logprob: targets {} for {} rows", targets.shape(), N);
  R1_CHECK(options.temperature > 0, "linear_logprob: temperature {} must be positive",
           options.temperature);
  for (std::int64_t i = 0; i < N; ++i) {
    const std::int32_t t = targets.data<std::int32_t>()[i];
    R1_CHECK(t >= 0 && t < V, "linear_logprob: target {} at row {} is not in [0, {})", t, i, V);
  }
  const Kernels& kn = kernels(h.device());
  const DType stats = stats_dtype(h.dtype());
  Tape* tape = Tape::current();
  const bool record = tape != nullptr && (tape->tracks(h) || w.trainable);
  const std::int64_t rows = chunk_rows(N, V, h.dtype());
  const bool keep =
      record && static_cast<std::size_t>(N * V) * size_of(h.dtype()) <= options.keep_bytes;

  Logprobs out{Tensor::empty({N}, stats),
               options.want_entropy ? Tensor::empty({N}, stats) : Tensor()};
  const Tensor lse = Tensor::empty({N}, stats);
  std::vector<Tensor> kept;
  for (std::int64_t n = 0; n < N; n += rows) {
    const std::int64_t count = std::min(rows, N - n);
    Tensor logits = Tensor::empty({count, V}, h.dtype());
    kn.matmul_packed(h.narrow(n, count), w.packed_transpose(), V, logits, false);
    Tensor logprob = out.logprob.narrow(n, count), row_lse = lse.narrow(n, count), entropy;
    if (options.want_entropy) entropy = out.entropy.narrow(n, count);
    kn.logprob_forward(logits, targets.narrow(n, count), options.temperature, logprob, row_lse,
                       entropy);
    if (keep) kept.push_back(logits);
  }
  if (!record) return out;

  tape->record(out.logprob, [=, &w, kept = std::move(kept),
                             temperature = options.temperature](const Tensor& dlogprob) mutable {
    const Kernels& kb = kernels(h.device());
    bool fresh = false;
    Tensor& dh = tape->grad_uninitialised(h, fresh);
    for (std::int64_t n = 0; n < N; n += rows) {
      const std::int64_t count = std::min(rows, N - n);
      Tensor logits;
      if (kept.empty()) {
        logits = Tensor::empty({count, V}, h.dtype());
        kb.matmul_packed(h.narrow(n, count), w.packed_transpose(), V, logits, false);
      } else {
        logits = std::move(kept[static_cast<std::size_t>(n / rows)]);
      }
      kb.logprob_backward(dlogprob.narrow(n, count), targets.narrow(n, count), lse.narrow(n, count),
                          temperature, logits);
      if (w.trainable) {
        kb.matmul(logits, Transpose::yes, h.narrow(n, count), Transpose::no, w.gradient(), true);
      }
      if (dh.defined()) {
        Tensor part = dh.narrow(n, count);
        kb.matmul(logits, Transpose::no, w.value, Transpose::no, part, !fresh);
      }
    }
  });
  return out;
}

}  // namespace r1
