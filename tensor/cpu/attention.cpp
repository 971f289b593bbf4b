// Attention: brings keys and values into the layout of isa/attention.h, in memory of the call or in
// a cache, and cuts the query rows into tasks. Where the cuts lie never shows in a result: a row
// of the output depends on its query and its keys alone, and the gradient of a key is summed over
// the rows of one head of one segment in one task, then over segments and heads in table order.
#include "tensor/cpu/attention.h"

#include <algorithm>
#include <vector>

#include "tensor/cpu/attention_keys.h"
#include "tensor/cpu/isa/isa.h"
#include "tensor/parallel.h"

namespace r1::cpu {
namespace {

using std::int64_t;

void check_shape(const char* op, const AttentionShape& s) {
  R1_CHECK(s.heads > 0 && s.kv_heads > 0 && s.heads % s.kv_heads == 0 && s.key_dim > 0 &&
               s.value_dim > 0,
           "{}: {} query heads of width {}/{} do not share {} key/value heads", op, s.heads,
           s.key_dim, s.value_dim, s.kv_heads);
}

void check_segments(const char* op, std::span<const Segment> segments, int64_t rows) {
  for (const Segment& s : segments)
    R1_CHECK(s.begin >= 0 && s.length >= 0 && s.begin <= rows - s.length && s.prefix_begin >= 0 &&
                 s.prefix_length >= 0 && s.prefix_begin <= rows - s.prefix_length,
             "{}: segment rows [{}, +{}) with prefix [{}, +{}) do not lie in {} rows", op, s.begin,
             s.length, s.prefix_begin, s.prefix_length, rows);
}

void check_cache(const char* op, std::span<const CacheRows> rows, int64_t tokens, int64_t capacity,
                 const AttentionShape& s, const Tensor& key_cache, const Tensor& value_cache) {
  check_shape(op, s);
  for (const CacheRows& r : rows) {
    R1_CHECK(r.begin >= 0 && r.length >= 0 && r.begin <= tokens - r.length && r.slot >= 0,
             "{}: rows [{}, +{}) of slot {} do not lie in {} rows", op, r.begin, r.length, r.slot,
             tokens);
    R1_CHECK(r.position >= 0 && r.position <= capacity - r.length,
             "{}: positions [{}, +{}) exceed the cache's {} keys a slot", op, r.position, r.length,
             capacity);
    const auto need = cache_sizes(s, r.slot + 1, capacity);
    R1_CHECK(key_cache.numel() >= need.key_numbers && value_cache.numel() >= need.value_numbers,
             "{}: slot {} does not lie in the cache", op, r.slot);
  }
}

// The queries of one sequence: rows [begin, begin + length) of q, the first of which sees
// first_keys keys. whole: one task for each key/value head.
struct Sequence {
  int64_t begin, length, first_keys;
  bool whole;
};

template <class T>
struct KeysAndValues {
  const T* keys;
  const T* values;
};

// The query rows (token, head of the group) of all sequences, kAttentionRows at a time: the heads
// of a group stand side by side, so that few tokens read each key once for all of them.
// locate(i, g, worker) gives the KeysAndValues of sequence i, key/value head g.
template <class T, class Locate>
void attend(const Tensor& q, const std::vector<Sequence>& sequences, const AttentionShape& shape,
            Tensor& o, T* lse, Locate&& locate) {
  struct Task {
    std::size_t sequence;
    int64_t head, begin, end;
  };
  const AttentionIsa<T>& a = isa().of<T>().attention;
  const int64_t group = shape.heads / shape.kv_heads;
  const int64_t q_stride = shape.heads * shape.key_dim, o_stride = shape.heads * shape.value_dim;
  std::vector<Task> tasks;
  int64_t most_keys = 0;
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const Sequence& s = sequences[i];
    const int64_t rows = s.length * group, step = s.whole ? rows : kAttentionRows;
    if (s.length > 0) most_keys = std::max(most_keys, s.first_keys + s.length - 1);
    for (int64_t g = 0; g < shape.kv_heads; ++g)
      for (int64_t r = 0; r < rows; r += step) tasks.push_back({i, g, r, std::min(r + step, rows)});
  }
  const Scratch<T> scratch(a.forward_scratch(most_keys, shape.key_dim, shape.value_dim));
  const T* q_data = q.data<T>();
  T* o_data = o.data<T>();
  parallel_for(static_cast<int64_t>(tasks.size()), [&](int64_t i, int worker) {
    const Task& t = tasks[static_cast<std::size_t>(i)];
    const Sequence& s = sequences[t.sequence];
    const KeysAndValues<T> kv = locate(t.sequence, t.head, worker);
    const int64_t head = t.head * group;
    a.forward({.begin = t.begin,
               .end = t.end,
               .group = group,
               .first_keys = s.first_keys,
               .q = q_data + s.begin * q_stride + head * shape.key_dim,
               .q_stride = q_stride,
               .keys = kv.keys,
               .values = kv.values,
               .key_dim = shape.key_dim,
               .value_dim = shape.value_dim,
               .scale = static_cast<T>(shape.scale),
               .o = o_data + s.begin * o_stride + head * shape.value_dim,
               .o_stride = o_stride,
               .lse = lse ? lse + head * q.rows() + s.begin : nullptr,
               .lse_stride = q.rows(),
               .scratch = scratch.of(worker)});
  });
}

template <class T>
void forward(const Tensor& q, const Tensor& k, const Tensor& v, const SegmentList& segments,
             const AttentionShape& shape, Tensor& o, Tensor& lse) {
  using Keys = PackedKeys<T>;
  const int64_t heads = shape.kv_heads;
  const Keys keys(Keys::Layout::panels, k, segments, heads, shape.key_dim);
  const Keys values(Keys::Layout::rows, v, segments, heads, shape.value_dim);
  parallel_for(static_cast<int64_t>(segments.size()) * heads, [&](int64_t i, int) {
    keys.pack_large(static_cast<std::size_t>(i / heads), i % heads);
    values.pack_large(static_cast<std::size_t>(i / heads), i % heads);
  });
  std::vector<Sequence> sequences;
  for (std::size_t i = 0; i < segments.size(); ++i) {
    const Segment& s = segments[i];
    sequences.push_back({s.begin, s.length, s.prefix_length + 1, segments.is_small(i)});
  }
  attend<T>(q, sequences, shape, o, lse.defined() ? lse.data<T>() : nullptr,
            [&](std::size_t i, int64_t g, int worker) {
              return KeysAndValues<T>{keys.at(i, g, worker), values.at(i, g, worker)};
            });
}

// One task is a query head of a segment, or all heads of a group of a small one.
template <class T>
void backward(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v,
              const Tensor& o, const Tensor& lse, const SegmentList& segments,
              const AttentionShape& shape, Tensor& dq, Tensor& dk, Tensor& dv) {
  using Keys = PackedKeys<T>;
  struct Task {
    std::size_t segment;
    int64_t begin, end;  // query heads
  };
  const AttentionIsa<T>& a = isa().of<T>().attention;
  const int64_t heads = shape.heads, kv_heads = shape.kv_heads, group = heads / kv_heads;
  const int64_t dim = shape.key_dim, value_dim = shape.value_dim;
  const Keys keys(Keys::Layout::panels, k, segments, kv_heads, dim);
  const Keys key_rows(Keys::Layout::rows, k, segments, kv_heads, dim);
  const Keys values(Keys::Layout::panels, v, segments, kv_heads, value_dim);
  parallel_for(static_cast<int64_t>(segments.size()) * kv_heads, [&](int64_t i, int) {
    const auto s = static_cast<std::size_t>(i / kv_heads);
    keys.pack_large(s, i % kv_heads);
    key_rows.pack_large(s, i % kv_heads);
    values.pack_large(s, i % kv_heads);
  });
  std::vector<Task> tasks;
  for (std::size_t i = 0; i < segments.size(); ++i) {
    const int64_t step = segments.is_small(i) ? group : 1;
    for (int64_t h = 0; h < heads; h += step) tasks.push_back({i, h, h + step});
  }
  const KeyGradient<T> dkeys(dk, segments, shape, dim), dvalues(dv, segments, shape, value_dim);
  const Scratch<T> scratch(a.backward_scratch(dim, value_dim));
  const T *q_data = q.data<T>(), *o_data = o.data<T>(), *dout_data = dout.data<T>();
  const T* lse_data = lse.data<T>();
  T* dq_data = dq.defined() ? dq.data<T>() : nullptr;
  parallel_for(static_cast<int64_t>(tasks.size()), [&](int64_t i, int worker) {
    const Task& t = tasks[static_cast<std::size_t>(i)];
    const Segment& s = segments[t.segment];
    const int64_t g = t.begin / group;
    const T* panels = keys.at(t.segment, g, worker);
    const T* rows = key_rows.at(t.segment, g, worker);
    const T* value_panels = values.at(t.segment, g, worker);
    for (int64_t h = t.begin; h < t.end; ++h) {
      const int64_t at_q = (s.begin * heads + h) * dim, at_o = (s.begin * heads + h) * value_dim;
      a.backward({.length = s.length,
                  .first_keys = s.prefix_length + 1,
                  .q = q_data + at_q,
                  .o = o_data + at_o,
                  .dout = dout_data + at_o,
                  .q_stride = heads * dim,
                  .o_stride = heads * value_dim,
                  .lse = lse_data + h * q.rows() + s.begin,
                  .keys = panels,
                  .values = value_panels,
                  .key_rows = rows,
                  .key_dim = dim,
                  .value_dim = value_dim,
                  .scale = static_cast<T>(shape.scale),
                  .dq = dq_data ? dq_data + at_q : nullptr,
                  .dkeys = dkeys.part(t.segment, h, worker),
                  .dvalues = dvalues.part(t.segment, h, worker),
                  .scratch = scratch.of(worker)});
      dkeys.finish(t.segment, h, worker);
      dvalues.finish(t.segment, h, worker);
    }
  });
  for (const KeyGradient<T>* gradient : {&dkeys, &dvalues})
    parallel_for(gradient->chunks() * kv_heads,
                 [&](int64_t i, int) { gradient->gather(i / kv_heads, i % kv_heads); });
}

// Rows that belong to no segment attend to nothing.
void clear_unused(std::span<const Segment> segments, Tensor& x) {
  int64_t used = 0;
  for (const Segment& s : segments) used += s.length;
  if (x.defined() && used < x.rows()) x.fill(0);
}

}  // namespace

void attention_forward(const Tensor& q, const Tensor& k, const Tensor& v,
                       std::span<const Segment> segments, const AttentionShape& shape, Tensor& o,
                       Tensor& lse) {
  check_shape("attention", shape);
  check_segments("attention", segments, q.rows());
  clear_unused(segments, o);
  dispatch_float(q.dtype(), "attention", [&]<class T>() {
    forward<T>(q, k, v, {segments, shape.kv_heads}, shape, o, lse);
  });
}

void attention_backward(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v,
                        const Tensor& o, const Tensor& lse, std::span<const Segment> segments,
                        const AttentionShape& shape, Tensor& dq, Tensor& dk, Tensor& dv) {
  check_shape("attention backward", shape);
  check_segments("attention backward", segments, q.rows());
  clear_unused(segments, dq);
  dispatch_float(q.dtype(), "attention backward", [&]<class T>() {
    backward<T>(dout, q, k, v, o, lse, {segments, shape.kv_heads}, shape, dq, dk, dv);
  });
}

Kernels::CacheSizes cache_sizes(const AttentionShape& shape, int64_t slots, int64_t capacity) {
  return {.key_numbers = slots * shape.kv_heads * panel_numbers(capacity, shape.key_dim),
          .value_numbers = slots * shape.kv_heads * row_numbers(capacity, shape.value_dim)};
}

void cache_append(const Tensor& k, const Tensor& v, std::span<const CacheRows> rows,
                  const AttentionShape& shape, int64_t capacity, Tensor& key_cache,
                  Tensor& value_cache) {
  check_cache("cache append", rows, k.rows(), capacity, shape, key_cache, value_cache);
  const int64_t heads = shape.kv_heads, dim = shape.key_dim, value_dim = shape.value_dim;
  const auto run = [&]<class T>() {
    const T *k_data = k.data<T>(), *v_data = v.data<T>();
    T *keys = key_cache.data<T>(), *values = value_cache.data<T>();
    parallel_for(static_cast<int64_t>(rows.size()) * heads, [&](int64_t i, int) {
      const CacheRows& r = rows[static_cast<std::size_t>(i / heads)];
      const int64_t g = i % heads, at = r.slot * heads + g;
      isa().of<T>().attention.pack_panels(k_data + (r.begin * heads + g) * dim, heads * dim,
                                          r.length, dim, r.position, false,
                                          keys + at * panel_numbers(capacity, dim));
      isa().of<T>().attention.pack_rows(
          v_data + (r.begin * heads + g) * value_dim, heads * value_dim, r.length, value_dim,
          values + at * row_numbers(capacity, value_dim) + r.position * padded(value_dim));
    });
  };
  dispatch_float(k.dtype(), "cache append", run);
}

void cache_copy(int64_t from, int64_t to, int64_t keys, const AttentionShape& shape,
                int64_t capacity, Tensor& key_cache, Tensor& value_cache) {
  check_shape("cache copy", shape);
  const auto need = cache_sizes(shape, std::max(from, to) + 1, capacity);
  R1_CHECK(from >= 0 && to >= 0 && keys >= 0 && keys <= capacity &&
               key_cache.numel() >= need.key_numbers && value_cache.numel() >= need.value_numbers,
           "cache copy: {} keys from slot {} to slot {} do not lie in the cache", keys, from, to);
  if (from == to) return;
  const auto run = [&]<class T>() {
    const int64_t key_stride = panel_numbers(capacity, shape.key_dim);
    const int64_t value_stride = row_numbers(capacity, shape.value_dim);
    T *k = key_cache.data<T>(), *v = value_cache.data<T>();
    for (int64_t g = 0; g < shape.kv_heads; ++g) {
      const int64_t source = from * shape.kv_heads + g, target = to * shape.kv_heads + g;
      std::copy_n(k + source * key_stride, panel_numbers(keys, shape.key_dim),
                  k + target * key_stride);
      std::copy_n(v + source * value_stride, keys * padded(shape.value_dim),
                  v + target * value_stride);
    }
  };
  dispatch_float(key_cache.dtype(), "cache copy", run);
}

void attention_cached(const Tensor& q, const Tensor& key_cache, const Tensor& value_cache,
                      std::span<const CacheRows> rows, const AttentionShape& shape,
                      int64_t capacity, Tensor& o) {
  check_cache("cached attention", rows, q.rows(), capacity, shape, key_cache, value_cache);
  const auto run = [&]<class T>() {
    const int64_t key_stride = panel_numbers(capacity, shape.key_dim);
    const int64_t value_stride = row_numbers(capacity, shape.value_dim);
    std::vector<Sequence> sequences;
    for (const CacheRows& r : rows) sequences.push_back({r.begin, r.length, r.position + 1, false});
    const T *keys = key_cache.data<T>(), *values = value_cache.data<T>();
    attend<T>(q, sequences, shape, o, nullptr, [&](std::size_t i, int64_t g, int) {
      const int64_t at = rows[i].slot * shape.kv_heads + g;
      return KeysAndValues<T>{keys + at * key_stride, values + at * value_stride};
    });
  };
  dispatch_float(q.dtype(), "cached attention", run);
}

}  // namespace r1::cpu
