// The instruction-set levels of this build and which of them this machine can run.
#pragma once

#include <string>
#include <vector>

#include "tensor/cpu/isa/isa.h"

namespace r1::cpu {

// Names that level() accepts on this machine, the lowest first.
std::vector<std::string> level_names();

// The table of a level. Throws Error, listing level_names(), for any other name.
const Isa& level(const std::string& name);

}  // namespace r1::cpu
