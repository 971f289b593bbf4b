#include "optim/schedule.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tensor/error.h"

namespace r1::optim {
namespace {

TEST(Schedule, ConstantWithWarmup) {
  const Schedule s{
      .kind = ScheduleKind::constant, .lr = 0.8, .warmup_steps = 4, .steps = 10, .list = {}};
  EXPECT_EQ(s.at(0), 0.0);  // transformers starts at 0
  EXPECT_DOUBLE_EQ(s.at(1), 0.2);
  EXPECT_DOUBLE_EQ(s.at(3), 0.6);
  EXPECT_EQ(s.at(4), 0.8);
  EXPECT_EQ(s.at(9), 0.8);
}

TEST(Schedule, LinearFallsToZeroAtTheEnd) {
  const Schedule s{
      .kind = ScheduleKind::linear, .lr = 1, .warmup_steps = 2, .steps = 12, .list = {}};
  EXPECT_DOUBLE_EQ(s.at(1), 0.5);
  EXPECT_DOUBLE_EQ(s.at(2), 1.0);
  EXPECT_DOUBLE_EQ(s.at(7), 0.5);
  EXPECT_DOUBLE_EQ(s.at(11), 0.1);
  EXPECT_EQ(s.at(12), 0.0);
}

TEST(Schedule, CosineHalfWay) {
  const Schedule s{
      .kind = ScheduleKind::cosine, .lr = 3e-3, .warmup_steps = 0, .steps = 100, .list = {}};
  EXPECT_DOUBLE_EQ(s.at(0), 3e-3);
  EXPECT_NEAR(s.at(50), 1.5e-3, 1e-18);
  EXPECT_NEAR(s.at(25), 3e-3 * (0.5 + std::sqrt(0.125)), 1e-17);
  EXPECT_NEAR(s.at(100), 0, 1e-18);
}

TEST(Schedule, ListIsUsedAsItIs) {
  const Schedule s{
      .kind = ScheduleKind::list, .lr = 9, .warmup_steps = 5, .steps = 2, .list = {0.25, 0.125}};
  EXPECT_EQ(s.at(0), 0.25);
  EXPECT_EQ(s.at(1), 0.125);
  EXPECT_THROW(s.at(2), Error);
}

TEST(Schedule, NamesAreKnown) {
  EXPECT_EQ(schedule_kind("cosine"), ScheduleKind::cosine);
  EXPECT_THROW(schedule_kind("cosin"), Error);
}

}  // namespace
}  // namespace r1::optim
