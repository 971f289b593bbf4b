// Log-sum-exp of one row of logits, shared by logprob and sample: a token's log-probability has the
// same bits when it is drawn and when it is scored.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "tensor/cpu/rows_ops.h"

namespace r1::cpu {

// Sums over the vocabulary go by blocks of this many columns, counted from column 0.
inline constexpr std::int64_t kLogitBlock = 4096;

// Of z = scale x: shift = max z, total = sum exp(z - shift).
template <class T>
struct SoftmaxRow {
  T scale = 1, max = 0, shift = 0;  // max is that of x
  double total = 0, log_total = 0;
  double entropy = 0;  // -sum p log p, when wanted

  double lse() const { return static_cast<double>(shift) + log_total; }
  // z - lse, without the digits that lse loses when the logits are large.
  double logprob(T x) const {
    const double z = static_cast<double>(x) * static_cast<double>(scale);
    return (z - static_cast<double>(shift)) - log_total;
  }
};

// sums, when given, receives the sum of exp(z - shift) of each block.
template <class T>
SoftmaxRow<T> softmax_row(const T* x, std::int64_t n, double temperature, bool want_entropy,
                          std::vector<double>* sums = nullptr) {
  const RowIsa<T>& k = row_isa<T>();
  SoftmaxRow<T> row;
  row.scale = static_cast<T>(1 / temperature);
  row.max = k.max(n, x);
  row.shift = row.max * row.scale;
  if (sums) sums->clear();
  double ed = 0;
  for (std::int64_t i = 0; i < n; i += kLogitBlock) {
    const ExpSums s =
        k.sum_exp(std::min(kLogitBlock, n - i), x + i, row.scale, row.shift, want_entropy);
    row.total += s.e;
    ed += s.ed;
    if (sums) sums->push_back(s.e);
  }
  row.log_total = std::log(row.total);
  // -sum p log p with log p = d - log(total), p = exp(d) / total.
  row.entropy = row.log_total - ed / row.total;
  return row;
}

}  // namespace r1::cpu
