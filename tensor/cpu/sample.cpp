#include <cmath>
#include <functional>
#include <vector>

#include "tensor/cpu/softmax_row.h"

namespace r1::cpu {
namespace {

template <class T>
struct Candidate {
  T logit;
  T weight;  // exp(z - max z)
  std::int32_t index;

  // Order of probability; of equal ones the lower index comes first.
  bool before(const Candidate& o) const {
    return logit > o.logit || (logit == o.logit && index < o.index);
  }
};

// Memory of one thread, kept from row to row.
template <class T>
struct Scratch {
  std::vector<double> sums;  // of exp(z - max z), a block each
  std::vector<T> weights, values;
  std::vector<std::int32_t> columns;
};

// Inverse CDF over all columns: the first whose running sum exceeds uniform * total.
template <class T>
std::int64_t draw(const T* x, std::int64_t n, const SoftmaxRow<T>& row,
                  const std::vector<double>& sums, double uniform) {
  const double target = uniform * row.total;
  double running = 0;
  std::size_t block = 0;
  while (block + 1 < sums.size() && running + sums[block] <= target) running += sums[block++];
  // Rounding may leave the target at the very end, behind blocks of weight 0.
  while (block > 0 && sums[block] == 0) --block;
  const std::int64_t begin = static_cast<std::int64_t>(block) * kLogitBlock;
  const std::int64_t count = std::min(kLogitBlock, n - begin);
  T weights[kLogitBlock];
  row_isa<T>().exp_scaled(count, x + begin, row.scale, row.shift, T(1), weights);
  std::int64_t last = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    if (!(weights[i] > 0)) continue;
    last = i;
    running += static_cast<double>(weights[i]);
    if (running > target) break;
  }
  return begin + last;
}

// found = the positions in [0, n) where keep(i), ascending; no branch on what is kept.
template <class F>
void positions_where(std::int64_t n, std::vector<std::int32_t>& found, F keep) {
  found.resize(static_cast<std::size_t>(n));
  std::int32_t* p = found.data();
  std::size_t count = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    p[count] = static_cast<std::int32_t>(i);
    count += keep(i) ? 1 : 0;
  }
  found.resize(count);
}

// The k-th largest logit; all that tie with it are kept. The k-th largest of the maxima of short
// pieces is no larger, and few columns reach it.
template <class T>
T kth_largest(const T* x, std::int64_t n, std::int64_t k, Scratch<T>& scratch) {
  constexpr std::int64_t kPiece = 64;
  std::vector<T>& values = scratch.values;
  const auto select = [k, &values] {
    const auto kth = values.begin() + (k - 1);
    std::nth_element(values.begin(), kth, values.end(), std::greater<T>());
    return *kth;
  };
  values.clear();
  for (std::int64_t i = 0; i < n; i += kPiece)
    values.push_back(row_isa<T>().max(std::min(kPiece, n - i), x + i));
  if (static_cast<std::int64_t>(values.size()) < k) {
    values.assign(x, x + n);
    return select();
  }
  const T bound = select();
  positions_where(n, scratch.columns, [=](std::int64_t i) { return x[i] >= bound; });
  values.clear();
  for (std::int32_t i : scratch.columns) values.push_back(x[i]);
  return select();
}

// The last member of the smallest set of most probable candidates whose weight reaches `target`:
// quickselect by weight instead of count.
template <class T>
Candidate<T> last_of_nucleus(std::vector<Candidate<T>> all, double target) {
  const auto order = [](const Candidate<T>& a, const Candidate<T>& b) { return a.before(b); };
  auto begin = all.begin(), end = all.end();
  double running = 0;  // weight of all before `begin`
  while (end - begin > 16) {
    // The middle one of three is neither the first nor the last, so both parts have members.
    Candidate<T> three[] = {*begin, begin[(end - begin) / 2], *(end - 1)};
    std::sort(three, three + 3, order);
    const auto cut = std::partition(begin, end, [&](const auto& c) { return c.before(three[1]); });
    double weight = 0;
    for (auto c = begin; c < cut; ++c) weight += static_cast<double>(c->weight);
    if (running + weight >= target) {
      end = cut;
    } else {
      running += weight;
      begin = cut;
    }
  }
  std::sort(begin, end, order);
  for (; begin + 1 < end; ++begin) {
    running += static_cast<double>(begin->weight);
    if (running >= target) break;
  }
  return *begin;
}

// Truncation in the order of Hugging Face's generate(): top_k, then top_p of what is left, then
// min_p; the draw walks the kept columns in order of index.
template <class T>
std::int64_t draw_truncated(const T* x, std::int64_t n, const SoftmaxRow<T>& row,
                            const SampleRow& options, Scratch<T>& scratch) {
  scratch.weights.resize(static_cast<std::size_t>(n));
  T* w = scratch.weights.data();
  row_isa<T>().exp_scaled(n, x, row.scale, row.shift, T(1), w);
  T heaviest = 0;
  row_isa<T>().exp_scaled(1, &row.max, row.scale, row.shift, T(1), &heaviest);
  const double least = options.min_p * static_cast<double>(heaviest);
  const bool use_top_k = options.top_k > 0 && options.top_k < n, use_top_p = options.top_p < 1;

  std::vector<std::int32_t>& columns = scratch.columns;
  if (use_top_k) {
    const T low = kth_largest(x, n, options.top_k, scratch);
    positions_where(n, columns, [=](std::int64_t i) { return x[i] >= low; });
  } else {
    // Columns below (1 - top_p) / n of the total weigh less than 1 - top_p together, so the nucleus
    // never needs them; half of that leaves room for rounding.
    const double spare = std::max(0.0, 1 - options.top_p) * row.total / static_cast<double>(n);
    const double light = std::max(least, 0.5 * spare);
    positions_where(n, columns, [=](std::int64_t i) { return static_cast<double>(w[i]) >= light; });
  }
  std::vector<Candidate<T>> kept;
  kept.reserve(columns.size());
  for (std::int32_t i : columns) kept.push_back({x[i], w[i], i});

  const auto total_weight = [&] {
    double total = 0;
    for (const Candidate<T>& c : kept) total += static_cast<double>(c.weight);
    return total;
  };
  if (use_top_p) {
    const double total = use_top_k ? total_weight() : row.total;
    const Candidate<T> last = last_of_nucleus(kept, options.top_p * total);
    std::erase_if(kept, [&](const Candidate<T>& c) { return last.before(c); });
  }
  std::erase_if(kept, [&](const Candidate<T>& c) {
    return static_cast<double>(c.weight) < least || !(c.weight > 0);
  });
  const double target = options.uniform * total_weight();
  double running = 0;
  for (const Candidate<T>& c : kept) {
    running += static_cast<double>(c.weight);
    if (running > target) return c.index;
  }
  return kept.back().index;
}

template <class T>
std::int64_t sample_row(const T* x, std::int64_t n, const SampleRow& options, std::int64_t b,
                        Scratch<T>& scratch, T& logprob) {
  const bool greedy = options.temperature == 0;
  const SoftmaxRow<T> row =
      softmax_row(x, n, greedy ? 1 : options.temperature, false, &scratch.sums);
  R1_CHECK(row.total > 0 && std::isfinite(row.total),
           "sample: row {} has a NaN or infinite logit at temperature {}, check the model", b,
           options.temperature);
  std::int64_t id;
  if (greedy) {
    id = std::find(x, x + n, row.max) - x;
  } else if (options.top_k > 0 || options.top_p < 1 || options.min_p > 0) {
    id = draw_truncated(x, n, row, options, scratch);
  } else {
    id = draw(x, n, row, scratch.sums, options.uniform);
  }
  logprob = static_cast<T>(row.logprob(x[id]));
  return id;
}

}  // namespace

void sample(const Tensor& logits, std::span<const SampleRow> rows, std::int64_t vocab, Tensor& ids,
            Tensor& logprobs) {
  const std::int64_t V = logits.cols();
  R1_CHECK(vocab >= 1 && vocab <= V, "sample: vocabulary of {} but logits {}", vocab,
           logits.shape().str());
  R1_CHECK(static_cast<std::int64_t>(rows.size()) == logits.rows(),
           "sample: {} rows of options but logits {}", rows.size(), logits.shape().str());
  for (const SampleRow& r : rows) {
    R1_CHECK(
        r.temperature >= 0 && r.top_p >= 0 && r.top_p <= 1 && r.min_p >= 0 && r.min_p <= 1 &&
            r.top_k >= 0 && r.uniform >= 0 && r.uniform < 1,
        "sample: temperature {}, top_p {}, min_p {}, top_k {}, uniform {}: want temperature and "
        "top_k from 0 on, top_p and min_p in [0, 1], uniform in [0, 1)",
        r.temperature, r.top_p, r.min_p, r.top_k, r.uniform);
  }
  dispatch_float(logits.dtype(), "sample", [&]<class T>() {
    const T* x = logits.data<T>();
    std::int32_t* id = ids.data<std::int32_t>();
    T* out = logprobs.data<T>();
    std::vector<Scratch<T>> scratch(static_cast<std::size_t>(thread_count()));
    parallel_for(logits.rows(), [&](std::int64_t b, int worker) {
      id[b] = static_cast<std::int32_t>(
          sample_row(x + b * V, vocab, rows[static_cast<std::size_t>(b)], b,
                     scratch[static_cast<std::size_t>(worker)], out[b]));
    });
  });
}

}  // namespace r1::cpu
