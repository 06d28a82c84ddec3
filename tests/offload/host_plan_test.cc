#include "offload/host_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "tests/offload/golden_case.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

int64_t total(const std::vector<PoolBytes>& pools) {
  int64_t bytes = 0;
  for (const PoolBytes& pool : pools) bytes += pool.bytes;
  return bytes;
}

int64_t bytes_of(const std::string& name, const std::vector<PoolBytes>& pools) {
  for (const PoolBytes& pool : pools)
    if (pool.name == name) return pool.bytes;
  return 0;
}

constexpr Share kSome{.kind = Share::Kind::kFraction, .fraction = 0.3};
const Placement kDevice = {.kind = PlacementKind::kHost, .device = Share{}};
const Placement kHost = {.kind = PlacementKind::kHost};
const Placement kNvme = {.kind = PlacementKind::kNvme};
const Placement kMostlyHost = {
    .kind = PlacementKind::kShares, .device = kSome, .host = Share{}, .nvme = {}};
const Placement kMostlyNvme = {
    .kind = PlacementKind::kShares, .device = kSome, .host = {}, .nvme = Share{}};

class HostPlanTest : public testing::Test {
 protected:
  HostPlanTest() {
    request_.own_memory = true;
    request_.host_memory = int64_t{64} << 20;
    request_.kv_slot_bytes = kTileBytes;
    request_.max_sequences = 16;
    request_.token_budget = 16;
    request_.workload = {.rows = 100,
                         .mean_prompt_tokens = 50,
                         .mean_new_tokens = 50,
                         .longest_prompt_tokens = 60,
                         .longest_row_tokens = 120};
  }
  MemoryPlan plan(int64_t host_memory = int64_t{64} << 20) {
    return plan_run_memory(model_.store().layout(), request_, host_memory);
  }

  GoldenModel model_{golden_path("llama3"), DType::kF32};
  MemoryRequest request_;
};

TEST_F(HostPlanTest, NeverExceedsEitherMemory) {
  std::mt19937 random(2);
  const Placement placements[] = {{}, kDevice, kHost, kNvme, kMostlyHost, kMostlyNvme};
  int feasible = 0, on_host = 0;
  for (int i = 0; i < 500; ++i) {
    request_.host_memory = int64_t{1} << (15 + random() % 12);
    request_.placement = placements[random() % 6];
    request_.kv_placement = placements[random() % 6];
    request_.max_sequences = static_cast<int32_t>(random() % 3 * 5);
    request_.token_budget = static_cast<int32_t>(random() % 3 * 40);
    if (random() % 2 == 0) request_.workload.rows = static_cast<int64_t>(random() % 50);
    const int64_t host_memory = int64_t{1} << (15 + random() % 12);
    try {
      const MemoryPlan plan = this->plan(host_memory);
      ++feasible;
      EXPECT_LE(total(plan.pools), request_.host_memory);
      EXPECT_LE(total(plan.host_pools), host_memory);
      EXPECT_EQ(bytes_of("kv cache", plan.pools), plan.kv_memory_blocks * plan.kv_block_bytes);
      const bool pinned = plan.kv_overflows() && plan.kv_on_host;
      EXPECT_EQ(bytes_of("kv cache", plan.host_pools),
                pinned ? plan.kv_blocks * plan.kv_block_bytes : 0);
      EXPECT_EQ(bytes_of("kv staging", plan.host_pools) > 0, plan.kv_overflows());
      on_host += pinned ? 1 : 0;
    } catch (const InfeasibleError&) {
    }
  }
  EXPECT_GT(feasible, 100);
  EXPECT_LT(feasible, 500);
  EXPECT_GT(on_host, 20);
}

TEST_F(HostPlanTest, KeysAndValuesRestWhereTheyAreAskedTo) {
  request_.kv_placement = kDevice;
  const MemoryPlan device = plan();
  EXPECT_FALSE(device.kv_overflows());
  for (const Placement& placement : {kHost, kNvme, kMostlyHost, kMostlyNvme}) {
    request_.kv_placement = placement;
    const MemoryPlan plan = this->plan();
    EXPECT_TRUE(plan.kv_overflows());
    EXPECT_EQ(plan.kv_on_host, kv_rests_on_host(placement));
    EXPECT_GT(plan.kv_ring_bytes, 0);
    EXPECT_EQ(plan.kv_table_bytes, bytes_of("kv tables", plan.pools));
    EXPECT_GT(plan.kv_table_bytes, 0);
    EXPECT_EQ(plan.kv_write_pinned_bytes > 0, !plan.kv_on_host);
  }
  request_.kv_placement = {
      .kind = PlacementKind::kShares, .device = kSome, .host = kSome, .nvme = Share{}};
  EXPECT_THROW(plan(), UsageError);
}

// Weights that must be in host memory have it before keys and values; where they may be elsewhere,
// they take what those leave.
TEST_F(HostPlanTest, HostMemoryIsSharedWithWeights) {
  request_.host_memory = int64_t{1} << 20;
  request_.kv_placement = kHost;
  request_.placement = kHost;
  const MemoryPlan roomy = plan();
  const int64_t weights = bytes_of("weights", roomy.host_pools);
  const int64_t kv = bytes_of("kv cache", roomy.host_pools);
  EXPECT_EQ(weights, model_.store().layout().weights_bytes());
  const int64_t tight = total(roomy.host_pools) - kv / 4;
  const MemoryPlan fewer = plan(tight);
  EXPECT_EQ(bytes_of("weights", fewer.host_pools), weights);
  EXPECT_LT(bytes_of("kv cache", fewer.host_pools), kv);
  EXPECT_THAT([&] { plan(total(roomy.host_pools) - kv); },
              testing::ThrowsMessage<InfeasibleError>(testing::AllOf(
                  testing::HasSubstr("of keys and values"), testing::HasSubstr("host.memory"))));
  request_.placement = {};
  const MemoryPlan automatic = plan(tight);
  EXPECT_EQ(bytes_of("kv cache", automatic.host_pools), kv);
  EXPECT_LT(bytes_of("weights", automatic.host_pools), weights);
}

}  // namespace
}  // namespace zerostream
