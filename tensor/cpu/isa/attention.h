// Causal attention of one instruction-set level, for one sequence and one key/value head.
//
// Keys (or values) lie in panels: kKeyPanel keys side by side for each of `dim` components, so
// panel p holds [dim][kKeyPanel] numbers from p * kKeyPanel * dim on. Rows of values (or keys) are
// padded(dim) numbers apart. Both count keys from 0, and panels and rows exist up to the next
// multiple of kKeyPanel after the last key.
//
// A row's bits depend on its query and the keys it sees, never on the other rows of a call.
#pragma once

#include <stdint.h>

namespace r1::cpu {

constexpr int kKeyPanel = 32;       // keys of a panel
constexpr int kHeadPad = 16;        // a padded row is a multiple of this many numbers
constexpr int kAttentionRows = 48;  // query rows that are worked on at a time

// Query row r is head r % group of token r / group; token t sees the keys 0 .. first_keys + t - 1.
template <class T>
struct AttentionForward {
  int64_t begin, end;  // query rows of this call
  int64_t group;       // query heads that read this key/value head
  int64_t first_keys;  // keys that token 0 sees
  const T* q;          // head h of token t: key_dim numbers at q + t * q_stride + h * key_dim
  int64_t q_stride;
  const T* keys;    // panels
  const T* values;  // rows
  int64_t key_dim, value_dim;
  T scale;  // of q . k
  T* o;     // head h of token t: o + t * o_stride + h * value_dim
  int64_t o_stride;
  T* lse;  // head h of token t: lse[h * lse_stride + t]; null: not wanted
  int64_t lse_stride;
  T* scratch;  // forward_scratch() numbers
};

// One query head of one sequence of `length` tokens; token t sees the keys 0 .. first_keys + t - 1.
template <class T>
struct AttentionBackward {
  int64_t length, first_keys;
  const T *q, *o, *dout;  // token t: at t * stride
  int64_t q_stride, o_stride;
  const T* lse;       // token t: lse[t]
  const T* keys;      // panels
  const T* values;    // panels
  const T* key_rows;  // rows
  int64_t key_dim, value_dim;
  T scale;
  T* dq;       // like q; overwritten; null: not wanted
  T* dkeys;    // rows, overwritten up to the last panel's end; null: not wanted
  T* dvalues;  // rows, as dkeys
  T* scratch;  // backward_scratch() numbers
};

template <class T>
struct AttentionIsa {
  // Writes n rows of `dim` numbers, src_stride apart, into panels as the keys first ... With
  // `last` the places of later keys in the last panel may be overwritten.
  void (*pack_panels)(const T* src, int64_t src_stride, int64_t n, int64_t dim, int64_t first,
                      bool last, T* panels);
  // Writes them as padded rows, the padding zero.
  void (*pack_rows)(const T* src, int64_t src_stride, int64_t n, int64_t dim, T* rows);
  // y = x, or y += x with accumulate: n rows of `dim` numbers; those of x are padded.
  void (*unpack_rows)(const T* x, int64_t n, int64_t dim, bool accumulate, T* y, int64_t y_stride);
  int64_t (*forward_scratch)(int64_t keys, int64_t key_dim, int64_t value_dim);
  int64_t (*backward_scratch)(int64_t key_dim, int64_t value_dim);
  void (*forward)(const AttentionForward<T>&);
  void (*backward)(const AttentionBackward<T>&);
};

}  // namespace r1::cpu
