// Whole runs under faults: the right result or the right error, and nothing lost.
#include <gtest/gtest.h>

#include "tests/faults/fault_run.h"

namespace zerostream {
namespace {

TEST(FaultSchedules, EndInTheRightResultOrTheRightError) {
  constexpr uint64_t kSchedules = 200;  // thousands: fault_soak
  TinyJob job;
  int failed = 0;
  for (uint64_t seed = 0; seed < kSchedules; ++seed) {
    const ScheduleResult result = run_schedule(job, seed);
    ASSERT_EQ(result.problem, "");
    failed += result.failed ? 1 : 0;
  }
  EXPECT_GT(failed, 20) << "faults that nobody notices test nothing";
  EXPECT_LT(failed, static_cast<int>(kSchedules) / 2);
}

}  // namespace
}  // namespace zerostream
