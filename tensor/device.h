// Where a tensor lives. A build without CUDA knows only the CPU.
#pragma once

namespace r1 {

enum class Device { cpu, cuda };

constexpr const char* name_of(Device d) { return d == Device::cpu ? "cpu" : "cuda"; }

}  // namespace r1
