// What the kernel families of one instruction-set level hand to isa_table.cpp. Each family's .cpp
// in this folder defines its two functions. They are functions, not constants, so that no code of
// a level the machine lacks runs while the program starts.
#pragma once

#include "tensor/cpu/isa/isa.h"

#ifndef R1_LEVEL
#error "R1_LEVEL names the level (baseline, avx2, avx512, neon); CMake sets it"
#endif

namespace r1::cpu::R1_LEVEL {

GemmIsa<float> gemm_f32();
GemmIsa<double> gemm_f64();
AttentionIsa<float> attention_f32();
AttentionIsa<double> attention_f64();
RowIsa<float> rows_f32();
RowIsa<double> rows_f64();

// The table of this level (isa_table.cpp), called by tensor/cpu/isa.cpp.
Isa level_isa();

}  // namespace r1::cpu::R1_LEVEL
