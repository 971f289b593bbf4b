// How the attention of a packed batch brings the keys and values of its segments into the layout of
// isa/attention.h, and the gradients of keys and values back.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "tensor/cpu/isa/isa.h"
#include "tensor/kernels.h"
#include "tensor/parallel.h"

namespace r1::cpu {

inline std::int64_t round_up(std::int64_t n, std::int64_t to) { return (n + to - 1) / to * to; }
inline std::int64_t padded(std::int64_t dim) { return round_up(dim, kHeadPad); }

// Numbers of one key/value head: panels and rows of `keys` keys.
inline std::int64_t panel_numbers(std::int64_t keys, std::int64_t dim) {
  return round_up(keys, kKeyPanel) * dim;
}
inline std::int64_t row_numbers(std::int64_t keys, std::int64_t dim) {
  return round_up(keys, kKeyPanel) * padded(dim);
}

// Keys of a segment: the prefix, then its own.
inline std::int64_t keys_of(const Segment& s) { return s.prefix_length + s.length; }

// A small segment is worked on by one task for each key/value head, which packs its keys into
// memory of the thread, so that they are still in the nearest cache when they are used. The keys of
// a larger segment are packed once for many tasks. Which it is never shows in a result.
constexpr std::int64_t kSmallKeys = 128;

// The segments of one call.
struct SegmentList {
  std::span<const Segment> all;
  std::int64_t small_keys;  // none is small when there are too few to keep all threads at work

  SegmentList(std::span<const Segment> segments, std::int64_t kv_heads)
      : all(segments),
        small_keys(static_cast<std::int64_t>(segments.size()) * kv_heads >= 4 * thread_count()
                       ? kSmallKeys
                       : 0) {}
  std::size_t size() const { return all.size(); }
  const Segment& operator[](std::size_t i) const { return all[i]; }
  bool is_small(std::size_t i) const { return keys_of(all[i]) <= small_keys; }
};

// Memory of a worker of a parallel_for, from one tensor of the call.
template <class T>
class Scratch {
 public:
  explicit Scratch(std::int64_t numbers)
      : numbers_(round_up(numbers, 64)),
        memory_(Tensor::empty({thread_count(), numbers_}, DTypeOf<T>::value)),
        data_(memory_.data<T>()) {}
  T* of(int worker) const { return data_ + worker * numbers_; }

 private:
  std::int64_t numbers_;
  Tensor memory_;
  T* data_;
};

// Keys or values (N, G*dim) of all segments, the prefix first, as panels or rows.
template <class T>
class PackedKeys {
 public:
  enum class Layout { panels, rows };

  PackedKeys(Layout layout, const Tensor& x, const SegmentList& segments, std::int64_t heads,
             std::int64_t dim)
      : layout_(layout),
        x_(x.data<T>()),
        segments_(segments),
        heads_(heads),
        dim_(dim),
        small_(numbers(kSmallKeys)) {
    std::int64_t total = 0;
    for (std::size_t i = 0; i < segments.size(); ++i) {
      begin_.push_back(total);
      if (!segments.is_small(i)) total += heads * numbers(keys_of(segments[i]));
    }
    memory_ = Tensor::empty({total}, DTypeOf<T>::value);
    data_ = memory_.data<T>();
  }

  // Packs head g of segment i, if it is not small; before the first at().
  void pack_large(std::size_t i, std::int64_t g) const {
    if (!segments_.is_small(i)) pack(i, g, large(i, g));
  }

  // Head g of segment i. That of a small segment holds until the worker's next call.
  const T* at(std::size_t i, std::int64_t g, int worker) const {
    if (!segments_.is_small(i)) return large(i, g);
    pack(i, g, small_.of(worker));
    return small_.of(worker);
  }

 private:
  std::int64_t numbers(std::int64_t keys) const {
    return layout_ == Layout::panels ? panel_numbers(keys, dim_) : row_numbers(keys, dim_);
  }
  T* large(std::size_t i, std::int64_t g) const {
    return data_ + begin_[i] + g * numbers(keys_of(segments_[i]));
  }
  void pack(std::size_t i, std::int64_t g, T* dst) const {
    const Segment& s = segments_[i];
    const std::int64_t stride = heads_ * dim_;
    const T* prefix = x_ + s.prefix_begin * stride + g * dim_;
    const T* own = x_ + s.begin * stride + g * dim_;
    const AttentionIsa<T>& a = isa().of<T>().attention;
    if (layout_ == Layout::rows) {
      a.pack_rows(prefix, stride, s.prefix_length, dim_, dst);
      a.pack_rows(own, stride, s.length, dim_, dst + s.prefix_length * padded(dim_));
    } else {
      a.pack_panels(prefix, stride, s.prefix_length, dim_, 0, true, dst);
      a.pack_panels(own, stride, s.length, dim_, s.prefix_length, true, dst);
    }
  }

  Layout layout_;
  const T* x_;
  SegmentList segments_;
  std::int64_t heads_, dim_;
  Scratch<T> small_;
  std::vector<std::int64_t> begin_;  // of each segment in data_
  Tensor memory_;
  T* data_;
};

// Gradient of keys or values (N, G*dim): every segment and query head has its own part, padded
// rows of its keys. A row of the result is the sum of its parts in table order: for each segment
// its prefix, then its own rows, each over the heads of the group ascending.
template <class T>
class KeyGradient {
 public:
  KeyGradient(Tensor& out, const SegmentList& segments, const AttentionShape& shape,
              std::int64_t dim)
      : segments_(segments),
        heads_(shape.heads),
        kv_heads_(shape.kv_heads),
        dim_(dim),
        small_(row_numbers(kSmallKeys, dim)) {
    if (!out.defined()) return;
    out_ = out.data<T>();
    rows_ = out.rows();
    for (const Segment& s : segments.all) shared_ = shared_ || s.prefix_length > 0;
    chunks_.resize(static_cast<std::size_t>((rows_ + kChunk - 1) / kChunk));
    std::vector<char> seen(static_cast<std::size_t>(rows_), 0);
    std::int64_t total = 0;
    for (std::size_t i = 0; i < segments.size(); ++i) {
      const Segment& s = segments[i];
      begin_.push_back(total);
      if (!is_local(i)) total += heads_ * row_numbers(keys_of(s), dim);
      if (s.length == 0) continue;  // no row of it adds to its prefix
      add_parts({i, s.prefix_begin, s.prefix_length, 0, false}, seen);
      add_parts({i, s.begin, s.length, s.prefix_length, false}, seen);
    }
    if (std::count(seen.begin(), seen.end(), 0) > 0) out.fill(0);
    memory_ = Tensor::empty({total}, DTypeOf<T>::value);
    data_ = memory_.data<T>();
  }

  // Where the part of segment i and query head h is to be written; null: not wanted. One worker
  // calls part() and finish() in turn for the heads of a group, ascending.
  T* part(std::size_t i, std::int64_t h, int worker) const {
    if (!out_) return nullptr;
    return is_local(i) ? small_.of(worker)
                       : data_ + begin_[i] + h * row_numbers(keys_of(segments_[i]), dim_);
  }
  void finish(std::size_t i, std::int64_t h, int worker) const {
    if (!out_ || !is_local(i)) return;
    add(small_.of(worker), segments_[i].begin, segments_[i].length, h, h % group() > 0);
  }

  // After all parts: chunk c of the rows of key/value head g, for c in [0, chunks()).
  std::int64_t chunks() const { return static_cast<std::int64_t>(chunks_.size()); }
  void gather(std::int64_t c, std::int64_t g) const {
    const std::int64_t begin = c * kChunk, end = std::min(begin + kChunk, rows_);
    for (const Part& p : chunks_[static_cast<std::size_t>(c)]) {
      const std::int64_t from = std::max(p.first, begin), to = std::min(p.first + p.length, end);
      for (std::int64_t h = g * group(); h < (g + 1) * group(); ++h)
        add(part(p.segment, h, 0) + (p.key + from - p.first) * padded(dim_), from, to - from, h,
            p.accumulate || h % group() > 0);
    }
  }

 private:
  static constexpr std::int64_t kChunk = 64;  // rows

  // Rows [first, first + length) of the tensor are the keys `key` ... of a segment; accumulate: an
  // earlier part had them too.
  struct Part {
    std::size_t segment;
    std::int64_t first, length, key;
    bool accumulate;
  };

  std::int64_t group() const { return heads_ / kv_heads_; }
  // The one task of a small segment may write the result itself when no other has a part in it.
  bool is_local(std::size_t i) const { return !shared_ && segments_.is_small(i); }

  void add(const T* rows, std::int64_t first, std::int64_t length, std::int64_t h,
           bool accumulate) const {
    const std::int64_t stride = kv_heads_ * dim_;
    isa().of<T>().attention.unpack_rows(rows, length, dim_, accumulate,
                                        out_ + first * stride + h / group() * dim_, stride);
  }

  // Hands a part to its chunks, cut where `seen` changes.
  void add_parts(Part p, std::vector<char>& seen) {
    const auto at = [&](std::int64_t n) -> char& { return seen[static_cast<std::size_t>(n)]; };
    const std::int64_t end = p.first + p.length, key = p.key - p.first;
    while (p.first < end) {
      p.accumulate = at(p.first) != 0;
      p.key = key + p.first;
      for (p.length = 0; p.first + p.length < end; ++p.length) {
        if ((at(p.first + p.length) != 0) != p.accumulate) break;
        at(p.first + p.length) = 1;
      }
      if (!is_local(p.segment))
        for (std::int64_t c = p.first / kChunk; c <= (p.first + p.length - 1) / kChunk; ++c)
          chunks_[static_cast<std::size_t>(c)].push_back(p);
      p.first += p.length;
    }
  }

  SegmentList segments_;
  std::int64_t heads_, kv_heads_, dim_;
  Scratch<T> small_;
  T* out_ = nullptr;
  std::int64_t rows_ = 0;
  bool shared_ = false;
  std::vector<std::int64_t> begin_;  // of each segment in data_
  std::vector<std::vector<Part>> chunks_;
  Tensor memory_;
  T* data_ = nullptr;
};

}  // namespace r1::cpu
