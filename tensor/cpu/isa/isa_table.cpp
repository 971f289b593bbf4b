#include "tensor/cpu/isa/level.h"

#define R1_QUOTE(x) #x
#define R1_NAME_OF(x) R1_QUOTE(x)

namespace r1::cpu::R1_LEVEL {

Isa level_isa() {
  return {R1_NAME_OF(R1_LEVEL),
          {gemm_f32(), attention_f32(), rows_f32()},
          {gemm_f64(), attention_f64(), rows_f64()}};
}

}  // namespace r1::cpu::R1_LEVEL
