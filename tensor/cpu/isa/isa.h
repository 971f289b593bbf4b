// What one instruction-set level of the CPU backend offers: plain function pointers on plain
// pointers, single-threaded. tensor/cpu/*.cpp (compiled for every machine) checks, splits the work
// over threads and calls these. Each *.cpp in this folder is compiled once per level.
#pragma once

#include "tensor/cpu/isa/attention.h"
#include "tensor/cpu/isa/gemm.h"
#include "tensor/cpu/isa/rows.h"

namespace r1::cpu {

template <class T> struct IsaOf {
  GemmIsa<T> gemm;
  AttentionIsa<T> attention;
  RowIsa<T> rows;
};

struct Isa {
  const char* name;  // "baseline", "avx2", "avx512", "neon"
  IsaOf<float> f32;
  IsaOf<double> f64;

  template <class T> const IsaOf<T>& of() const {
    if constexpr (sizeof(T) == sizeof(float)) return f32;
    else return f64;
  }
};

// The level in use: the best this machine has, or the one that R1_ISA names (lower only).
const Isa& isa();

}  // namespace r1::cpu
