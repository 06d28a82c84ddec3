#include "offload/memory_plan.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/offload/golden_case.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

int64_t total(const MemoryPlan& plan) {
  int64_t bytes = 0;
  for (const PoolBytes& pool : plan.pools) bytes += pool.bytes;
  return bytes;
}

class MemoryPlanTest : public testing::Test {
 protected:
  const PackedStore& store() { return model_.store(); }
  GoldenModel model_{golden_path("llama3"), DType::kF32};
};

// Whatever is asked: a plan stays within its memory, keeps what was asked for, and has room for a
// row; or it is refused.
TEST_F(MemoryPlanTest, NeverExceedsItsMemory) {
  std::mt19937 random(1);
  int feasible = 0;
  for (int i = 0; i < 500; ++i) {
    MemoryRequest request;
    request.host_memory = int64_t{1} << (15 + random() % 14);
    request.placement.kind = static_cast<PlacementKind>(random() % 3);
    request.prefetch_depth = static_cast<int32_t>(random() % 6) - 1;
    request.max_sequences = static_cast<int32_t>(random() % 3 * 5);
    request.token_budget = static_cast<int32_t>(random() % 3 * 40);
    try {
      const MemoryPlan plan = plan_memory(store(), request);
      ++feasible;
      EXPECT_LE(total(plan), request.host_memory);
      EXPECT_GE(plan.token_budget, plan.max_sequences);
      EXPECT_GE(plan.max_sequences, 1);
      EXPECT_GT(plan.kv_blocks, 0);
      if (request.token_budget > 0) {
        EXPECT_EQ(plan.token_budget, request.token_budget);
      }
      if (request.max_sequences > 0) {
        EXPECT_EQ(plan.max_sequences, request.max_sequences);
      }
      if (request.prefetch_depth >= 0) {
        EXPECT_EQ(plan.prefetch_depth, request.prefetch_depth);
      }
      if (request.placement.kind == PlacementKind::kHost) {
        EXPECT_TRUE(plan.resident.front());
      }
      if (request.placement.kind == PlacementKind::kNvme) {
        EXPECT_FALSE(plan.resident.front());
      }
    } catch (const InfeasibleError&) {
    }
  }
  EXPECT_GT(feasible, 100);
  EXPECT_LT(feasible, 500);
}

TEST_F(MemoryPlanTest, AutoStreamsWhatDoesNotFit) {
  MemoryRequest request;
  request.host_memory = int64_t{4} << 30;
  request.max_sequences = 1;
  request.token_budget = 1;
  request.prefetch_depth = 0;
  EXPECT_TRUE(plan_memory(store(), request).resident.front());
  while (plan_memory(store(), request).resident.front())
    request.host_memory = request.host_memory * 9 / 10;
  EXPECT_EQ(plan_memory(store(), request).resident,
            std::vector<bool>(store().segments().size(), false));
}

TEST_F(MemoryPlanTest, ManyRowsGetTheirTokens) {
  MemoryRequest request;
  request.host_memory = int64_t{4} << 30;
  request.max_sequences = 5000;
  EXPECT_EQ(plan_memory(store(), request).max_sequences, 5000);
  EXPECT_GE(plan_memory(store(), request).token_budget, 5000);
  request.token_budget = 4999;
  EXPECT_THROW(plan_memory(store(), request), UsageError);
}

TEST_F(MemoryPlanTest, RefusalsSayWhatIsMissingAndWhatWouldFit) {
  MemoryRequest request;
  request.host_memory = 64 << 10;
  request.placement.kind = PlacementKind::kHost;
  try {
    plan_memory(store(), request);
    FAIL() << "accepted";
  } catch (const InfeasibleError& error) {
    const std::string message = error.what();
    for (const char* part :
         {"64.0 KiB", "missing", "resident weights", "kv cache", "placement: nvme"})
      EXPECT_NE(message.find(part), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace zerostream
