#include "optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "tensor/error.h"

namespace r1::optim {

double Schedule::at(std::int64_t s) const {
  if (kind == ScheduleKind::list) {
    R1_CHECK(s >= 0 && s < static_cast<std::int64_t>(list.size()),
             "schedule: the list has {} learning rates but step {} needs one", list.size(), s + 1);
    return list[static_cast<std::size_t>(s)];
  }
  const auto step = static_cast<double>(s), warmup = static_cast<double>(warmup_steps);
  if (s < warmup_steps) return lr * step / std::max(1.0, warmup);
  if (kind == ScheduleKind::constant) return lr;
  const double span = std::max(1.0, static_cast<double>(steps) - warmup);
  if (kind == ScheduleKind::linear) {
    return lr * std::max(0.0, (static_cast<double>(steps) - step) / span);
  }
  const double progress = (step - warmup) / span;
  return lr * std::max(0.0, 0.5 * (1 + std::cos(std::numbers::pi * progress)));
}

ScheduleKind schedule_kind(const std::string& name) {
  if (name == "constant") return ScheduleKind::constant;
  if (name == "linear") return ScheduleKind::linear;
  if (name == "cosine") return ScheduleKind::cosine;
  if (name == "list") return ScheduleKind::list;
  fail("schedule \"{}\" is unknown; known are constant, linear, cosine, list", name);
}

}  // namespace r1::optim
