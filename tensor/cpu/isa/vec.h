// Vectors of one instruction-set level, in GCC/Clang vector extensions. Everything lives in the
// namespace of the level, so that the linker never mixes code of two levels. Include nothing
// that defines inline functions here: no standard containers, no <algorithm>, no <cmath>.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifndef R1_LEVEL
#error "R1_LEVEL names the level (baseline, avx2, avx512, neon); CMake sets it"
#endif

namespace r1::cpu::R1_LEVEL {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

// Lanes of T in one vector register.
template <class T> constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));

template <class T> struct VecOf;
template <> struct VecOf<float> {
  typedef float type __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));
  typedef int32_t mask __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));
};
template <> struct VecOf<double> {
  typedef double type __attribute__((vector_size(kVectorBytes), aligned(8), may_alias));
  typedef int64_t mask __attribute__((vector_size(kVectorBytes), aligned(8), may_alias));
};
template <class T> using Vec = typename VecOf<T>::type;

template <class T> inline Vec<T> load(const T* p) { return *reinterpret_cast<const Vec<T>*>(p); }
template <class T> inline void store(T* p, Vec<T> v) { *reinterpret_cast<Vec<T>*>(p) = v; }
template <class T> inline Vec<T> splat(T x) { return x - Vec<T>{}; }

// The first n < kLanes numbers at p, the other lanes `rest`; tails run the same vector code on
// such a vector, so that an element's bits never depend on where a loop ends.
template <class T> inline Vec<T> load_part(const T* p, int n, T rest = T(0)) {
  Vec<T> v = splat(rest);
  for (int i = 0; i < n; ++i) v[i] = p[i];
  return v;
}
template <class T> inline void store_part(T* p, Vec<T> v, int n) {
  for (int i = 0; i < n; ++i) p[i] = v[i];
}

// Sum of the lanes in a fixed tree.
template <class T> inline T sum_lanes(Vec<T> v) {
  T t[kLanes<T>];
  store<T>(t, v);
  for (int w = kLanes<T> / 2; w > 0; w /= 2)
    for (int i = 0; i < w; ++i) t[i] += t[i + w];
  return t[0];
}

}  // namespace r1::cpu::R1_LEVEL
