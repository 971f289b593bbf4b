// Attention: brings keys and values into the layout of isa/attention.h, in memory of the call or in
// a cache, and cuts the query rows into tasks. Where the cuts lie never shows in a result: a row
// of the output depends on its query and its keys alone, and the gradient of a key is summed over
// the rows of one head of one segment in one task, then over segments and heads in table order.
#include "tensor/cpu/attention.h"

#include <algorithm>
#include <vector>

#include "tensor/cpu/isa/isa.h"
#include "tensor/parallel.h"

namespace r1::cpu {
namespace {

using std::int64_t;

int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
int64_t padded(int64_t dim) { return round_up(dim, kHeadPad); }

// Numbers of one key/value head: panels and rows of `keys` keys.
int64_t panel_numbers(int64_t keys, int64_t dim) { return round_up(keys, kKeyPanel) * dim; }
int64_t row_numbers(int64_t keys, int64_t dim) { return round_up(keys, kKeyPanel) * padded(dim); }

// Keys of a segment: the prefix, then its own.
int64_t keys_of(const Segment& s) { return s.prefix_length + s.length; }

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

// Memory of a worker of a parallel_for, from one tensor of the call.
template <class T>
class Scratch {
 public:
  explicit Scratch(int64_t numbers)
      : numbers_(round_up(numbers, 64 / static_cast<int64_t>(sizeof(T)))),
        memory_(Tensor::empty({thread_count(), numbers_}, DTypeOf<T>::value)),
        data_(memory_.data<T>()) {}
  T* of(int worker) const { return data_ + worker * numbers_; }

 private:
  int64_t numbers_;
  Tensor memory_;
  T* data_;
};

// The queries of one sequence and where its keys and values lie, from key/value head 0 on.
template <class T>
struct Sequence {
  int64_t begin, length;  // rows of q
  int64_t first_keys;     // keys that row `begin` sees
  const T* keys;
  const T* values;
  int64_t key_stride, value_stride;  // from one key/value head to the next
};

// The query rows (token, head of the group) of all sequences, kAttentionRows at a time: the heads
// of a group stand side by side, so that few tokens read each key once for all of them.
template <class T>
void attend(const Tensor& q, const std::vector<Sequence<T>>& sequences, const AttentionShape& shape,
            Tensor& o, T* lse) {
  struct Task {
    int64_t sequence, head, begin;
  };
  const AttentionIsa<T>& a = isa().of<T>().attention;
  const int64_t group = shape.heads / shape.kv_heads;
  const int64_t q_stride = shape.heads * shape.key_dim, o_stride = shape.heads * shape.value_dim;
  std::vector<Task> tasks;
  int64_t most_keys = 0;
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const Sequence<T>& s = sequences[i];
    if (s.length > 0) most_keys = std::max(most_keys, s.first_keys + s.length - 1);
    for (int64_t g = 0; g < shape.kv_heads; ++g)
      for (int64_t r = 0; r < s.length * group; r += kAttentionRows)
        tasks.push_back({static_cast<int64_t>(i), g, r});
  }
  const Scratch<T> scratch(a.forward_scratch(most_keys, shape.key_dim, shape.value_dim));
  const T* q_data = q.data<T>();
  T* o_data = o.data<T>();
  parallel_for(static_cast<int64_t>(tasks.size()), [&](int64_t i, int worker) {
    const Task& t = tasks[static_cast<std::size_t>(i)];
    const Sequence<T>& s = sequences[static_cast<std::size_t>(t.sequence)];
    const int64_t head = t.head * group;
    a.forward({.begin = t.begin,
               .end = std::min(t.begin + kAttentionRows, s.length * group),
               .group = group,
               .first_keys = s.first_keys,
               .q = q_data + s.begin * q_stride + head * shape.key_dim,
               .q_stride = q_stride,
               .keys = s.keys + t.head * s.key_stride,
               .values = s.values + t.head * s.value_stride,
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

// Keys or values (N, G*dim) of all segments, prefix first, in the layout of isa/attention.h:
// segment s, key/value head g at of(s, g).
template <class T>
class Packed {
 public:
  enum class Layout { panels, rows };

  Packed(Layout layout, const Tensor& x, std::span<const Segment> segments, int64_t heads,
         int64_t dim)
      : layout_(layout), x_(x.data<T>()), segments_(segments), heads_(heads), dim_(dim) {
    int64_t numbers = 0;
    for (const Segment& s : segments) {
      begin_.push_back(numbers);
      numbers += heads * stride(s);
    }
    memory_ = Tensor::empty({numbers}, DTypeOf<T>::value);
    data_ = memory_.data<T>();
  }

  int64_t stride(const Segment& s) const {
    return layout_ == Layout::panels ? panel_numbers(keys_of(s), dim_)
                                     : row_numbers(keys_of(s), dim_);
  }
  T* of(std::size_t s, int64_t g) const { return data_ + begin_[s] + g * stride(segments_[s]); }

  void pack(std::size_t s, int64_t g) const {
    const Segment& segment = segments_[s];
    const T* x = x_ + g * dim_;
    T* dst = of(s, g);
    const int64_t x_stride = heads_ * dim_;
    const T* prefix = x + segment.prefix_begin * x_stride;
    const T* own = x + segment.begin * x_stride;
    const AttentionIsa<T>& a = isa().of<T>().attention;
    if (layout_ == Layout::rows) {
      a.pack_rows(prefix, x_stride, segment.prefix_length, dim_, dst);
      a.pack_rows(own, x_stride, segment.length, dim_, dst + segment.prefix_length * padded(dim_));
    } else {
      a.pack_panels(prefix, x_stride, segment.prefix_length, dim_, 0, true, dst);
      a.pack_panels(own, x_stride, segment.length, dim_, segment.prefix_length, true, dst);
    }
  }

 private:
  Layout layout_;
  const T* x_;
  std::span<const Segment> segments_;
  int64_t heads_, dim_;
  std::vector<int64_t> begin_;
  Tensor memory_;
  T* data_;
};

template <class T>
void forward(const Tensor& q, const Tensor& k, const Tensor& v, std::span<const Segment> segments,
             const AttentionShape& shape, Tensor& o, Tensor& lse) {
  const int64_t heads = shape.kv_heads;
  const Packed<T> keys(Packed<T>::Layout::panels, k, segments, heads, shape.key_dim);
  const Packed<T> values(Packed<T>::Layout::rows, v, segments, heads, shape.value_dim);
  parallel_for(static_cast<int64_t>(segments.size()) * heads, [&](int64_t i, int) {
    keys.pack(static_cast<std::size_t>(i / heads), i % heads);
    values.pack(static_cast<std::size_t>(i / heads), i % heads);
  });
  std::vector<Sequence<T>> sequences;
  for (std::size_t i = 0; i < segments.size(); ++i) {
    const Segment& s = segments[i];
    sequences.push_back({.begin = s.begin,
                         .length = s.length,
                         .first_keys = s.prefix_length + 1,
                         .keys = keys.of(i, 0),
                         .values = values.of(i, 0),
                         .key_stride = keys.stride(s),
                         .value_stride = values.stride(s)});
  }
  attend<T>(q, sequences, shape, o, lse.defined() ? lse.data<T>() : nullptr);
}

// Gradient of the keys (or values) of every segment and query head, as padded rows; gather() adds
// them up.
template <class T>
class KeyGradient {
 public:
  KeyGradient(Tensor& out, std::span<const Segment> segments, const AttentionShape& shape,
              int64_t dim)
      : segments_(segments), shape_(shape), dim_(dim) {
    if (!out.defined()) return;
    out_ = out.data<T>();
    rows_ = out.rows();
    int64_t numbers = 0;
    for (const Segment& s : segments) {
      begin_.push_back(numbers);
      numbers += shape.heads * row_numbers(keys_of(s), dim);
    }
    memory_ = Tensor::empty({numbers}, DTypeOf<T>::value);
    data_ = memory_.data<T>();
    parts_.resize(static_cast<std::size_t>((rows_ + kChunk - 1) / kChunk));
    std::vector<char> seen(static_cast<std::size_t>(rows_), 0);
    for (std::size_t i = 0; i < segments.size(); ++i) {
      const Segment& s = segments[i];
      add_parts({i, s.prefix_begin, s.prefix_length, 0, false}, seen);
      add_parts({i, s.begin, s.length, s.prefix_length, false}, seen);
    }
    if (std::count(seen.begin(), seen.end(), 0) > 0) out.fill(0);
  }

  T* of(std::size_t s, int64_t head) const {
    return data_ ? data_ + begin_[s] + head * row_numbers(keys_of(segments_[s]), dim_) : nullptr;
  }

  // Writes the rows of a chunk, key/value head g: in table order, for each segment its prefix, then
  // its own rows, each over the heads of the group ascending.
  void gather(int64_t chunk, int64_t g) const {
    if (!out_) return;
    const int64_t begin = chunk * kChunk, end = std::min(begin + kChunk, rows_);
    const int64_t group = shape_.heads / shape_.kv_heads, stride = shape_.kv_heads * dim_;
    for (const Part& p : parts_[static_cast<std::size_t>(chunk)]) {
      const int64_t from = std::max(p.first, begin), to = std::min(p.first + p.length, end);
      for (int64_t h = g * group; h < (g + 1) * group; ++h)
        isa().of<T>().attention.unpack_rows(
            of(p.segment, h) + (p.key + from - p.first) * padded(dim_), to - from, dim_,
            p.accumulate || h > g * group, out_ + from * stride + g * dim_, stride);
    }
  }

  static constexpr int64_t kChunk = 64;  // rows

 private:
  // Rows [first, first + length) of the tensor are the keys `key` ... of a segment; accumulate: an
  // earlier part had them too.
  struct Part {
    std::size_t segment;
    int64_t first, length, key;
    bool accumulate;
  };

  // Hands a part to its chunks, cut where `seen` changes.
  void add_parts(Part p, std::vector<char>& seen) {
    const auto at = [&](int64_t n) -> char& { return seen[static_cast<std::size_t>(n)]; };
    const int64_t end = p.first + p.length, key = p.key - p.first;
    while (p.first < end) {
      p.accumulate = at(p.first) != 0;
      p.key = key + p.first;
      for (p.length = 0; p.first + p.length < end; ++p.length) {
        if ((at(p.first + p.length) != 0) != p.accumulate) break;
        at(p.first + p.length) = 1;
      }
      for (int64_t c = p.first / kChunk; c <= (p.first + p.length - 1) / kChunk; ++c)
        parts_[static_cast<std::size_t>(c)].push_back(p);
      p.first += p.length;
    }
  }

  std::span<const Segment> segments_;
  AttentionShape shape_;
  int64_t dim_;
  T* out_ = nullptr;
  int64_t rows_ = 0;
  std::vector<int64_t> begin_;
  std::vector<std::vector<Part>> parts_;  // of each chunk
  Tensor memory_;
  T* data_ = nullptr;
};

template <class T>
void backward(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v,
              const Tensor& o, const Tensor& lse, std::span<const Segment> segments,
              const AttentionShape& shape, Tensor& dq, Tensor& dk, Tensor& dv) {
  const AttentionIsa<T>& a = isa().of<T>().attention;
  const int64_t heads = shape.heads, kv_heads = shape.kv_heads, group = heads / kv_heads;
  const int64_t dim = shape.key_dim, value_dim = shape.value_dim, N = q.rows();
  const Packed<T> keys(Packed<T>::Layout::panels, k, segments, kv_heads, dim);
  const Packed<T> key_rows(Packed<T>::Layout::rows, k, segments, kv_heads, dim);
  const Packed<T> values(Packed<T>::Layout::panels, v, segments, kv_heads, value_dim);
  const auto count = static_cast<int64_t>(segments.size());
  parallel_for(count * kv_heads, [&](int64_t i, int) {
    const auto s = static_cast<std::size_t>(i / kv_heads);
    keys.pack(s, i % kv_heads);
    if (dq.defined()) key_rows.pack(s, i % kv_heads);
    values.pack(s, i % kv_heads);
  });
  const KeyGradient<T> dkeys(dk, segments, shape, dim), dvalues(dv, segments, shape, value_dim);
  const Scratch<T> scratch(a.backward_scratch(dim, value_dim));
  const T *q_data = q.data<T>(), *o_data = o.data<T>(), *dout_data = dout.data<T>();
  const T* lse_data = lse.data<T>();
  T* dq_data = dq.defined() ? dq.data<T>() : nullptr;
  parallel_for(count * heads, [&](int64_t i, int worker) {
    const auto s = static_cast<std::size_t>(i / heads);
    const Segment& segment = segments[s];
    const int64_t h = i % heads, g = h / group;
    const int64_t at_q = (segment.begin * heads + h) * dim;
    const int64_t at_o = (segment.begin * heads + h) * value_dim;
    a.backward({.length = segment.length,
                .first_keys = segment.prefix_length + 1,
                .q = q_data + at_q,
                .o = o_data + at_o,
                .dout = dout_data + at_o,
                .q_stride = heads * dim,
                .o_stride = heads * value_dim,
                .lse = lse_data + h * N + segment.begin,
                .keys = keys.of(s, g),
                .values = values.of(s, g),
                .key_rows = key_rows.of(s, g),
                .key_dim = dim,
                .value_dim = value_dim,
                .scale = static_cast<T>(shape.scale),
                .dq = dq_data ? dq_data + at_q : nullptr,
                .dkeys = dkeys.of(s, h),
                .dvalues = dvalues.of(s, h),
                .scratch = scratch.of(worker)});
  });
  const int64_t chunks = (N + KeyGradient<T>::kChunk - 1) / KeyGradient<T>::kChunk;
  parallel_for(chunks * kv_heads, [&](int64_t i, int) {
    dkeys.gather(i / kv_heads, i % kv_heads);
    dvalues.gather(i / kv_heads, i % kv_heads);
  });
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
  dispatch_float(q.dtype(), "attention",
                 [&]<class T>() { forward<T>(q, k, v, segments, shape, o, lse); });
}

void attention_backward(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v,
                        const Tensor& o, const Tensor& lse, std::span<const Segment> segments,
                        const AttentionShape& shape, Tensor& dq, Tensor& dk, Tensor& dv) {
  check_shape("attention backward", shape);
  check_segments("attention backward", segments, q.rows());
  clear_unused(segments, dq);
  dispatch_float(q.dtype(), "attention backward", [&]<class T>() {
    backward<T>(dout, q, k, v, o, lse, segments, shape, dq, dk, dv);
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
    std::vector<Sequence<T>> sequences;
    for (const CacheRows& r : rows) {
      const int64_t first = r.slot * shape.kv_heads;
      sequences.push_back({.begin = r.begin,
                           .length = r.length,
                           .first_keys = r.position + 1,
                           .keys = key_cache.data<T>() + first * key_stride,
                           .values = value_cache.data<T>() + first * value_stride,
                           .key_stride = key_stride,
                           .value_stride = value_stride});
    }
    attend<T>(q, sequences, shape, o, nullptr);
  };
  dispatch_float(q.dtype(), "cached attention", run);
}

}  // namespace r1::cpu
