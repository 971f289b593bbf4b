// Learning rates, step by step: transformers' formulas (optimization.py: get_*_schedule).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace r1::optim {

enum class ScheduleKind { constant, linear, cosine, list };

struct Schedule {
  ScheduleKind kind = ScheduleKind::constant;
  double lr = 0;                  // the peak
  std::int64_t warmup_steps = 0;  // 0 -> lr in equal increments; not for list
  std::int64_t steps = 0;         // all of them
  std::vector<double> list;       // list: one rate a step, used as it is

  // The rate of step s = 0 .. steps-1. Throws Error when a list is too short.
  double at(std::int64_t s) const;
};

// "constant", "linear", "cosine", "list"; throws Error for another name.
ScheduleKind schedule_kind(const std::string& name);

}  // namespace r1::optim
