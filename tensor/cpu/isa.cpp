#include <fmt/ranges.h>

#include <cstdlib>

#include "tensor/cpu/levels.h"
#include "tensor/error.h"

namespace r1::cpu {

#if defined(R1_HAS_LEVEL_baseline)
namespace baseline {
Isa level_isa();
}
#endif
#if defined(R1_HAS_LEVEL_avx2)
namespace avx2 {
Isa level_isa();
}
#endif
#if defined(R1_HAS_LEVEL_avx512)
namespace avx512 {
Isa level_isa();
}
#endif
#if defined(R1_HAS_LEVEL_neon)
namespace neon {
Isa level_isa();
}
#endif

namespace {

#if defined(R1_HAS_LEVEL_avx2)
// x86-64-v3. __builtin_cpu_supports asks the operating system too (XGETBV) for the wide registers.
bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
         __builtin_cpu_supports("popcnt");
}
#endif
#if defined(R1_HAS_LEVEL_avx512)
bool has_avx512() {  // x86-64-v4
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
}
#endif

const std::vector<Isa>& levels() {
  static const std::vector<Isa> all = [] {
    std::vector<Isa> v;
#if defined(R1_HAS_LEVEL_baseline)
    v.push_back(baseline::level_isa());
#endif
#if defined(R1_HAS_LEVEL_avx2)
    if (has_avx2()) v.push_back(avx2::level_isa());
#endif
#if defined(R1_HAS_LEVEL_avx512)
    if (has_avx512()) v.push_back(avx512::level_isa());
#endif
#if defined(R1_HAS_LEVEL_neon)
    v.push_back(neon::level_isa());
#endif
    return v;
  }();
  return all;
}

}  // namespace

std::vector<std::string> level_names() {
  std::vector<std::string> names;
  for (const Isa& l : levels()) names.emplace_back(l.name);
  return names;
}

const Isa& level(const std::string& name) {
  for (const Isa& l : levels())
    if (name == l.name) return l;
  fail("cpu: no instruction-set level '{}' on this machine (R1_ISA), it has: {}", name,
       fmt::join(level_names(), ", "));
}

const Isa& isa() {
  // A throw leaves `chosen` unset, so that a later call fails again.
  static const Isa& chosen = [&]() -> const Isa& {
    const char* wanted = std::getenv("R1_ISA");
    return wanted != nullptr && *wanted != '\0' ? level(wanted) : levels().back();
  }();
  return chosen;
}

}  // namespace r1::cpu
