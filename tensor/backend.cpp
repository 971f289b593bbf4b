#include "tensor/error.h"
#include "tensor/kernels.h"

namespace r1 {

namespace cpu {
const Kernels& table();  // tensor/cpu/backend.cpp
}

const Kernels& kernels(Device device) {
  R1_CHECK(device == Device::cpu, "backend: this build has no {} backend", name_of(device));
  return cpu::table();
}

}  // namespace r1
