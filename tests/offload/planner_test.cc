#include "offload/planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "offload/planned_layout.h"
#include "offload/what_if.h"
#include "tests/offload/planning_case.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

using testing::HasSubstr;

constexpr int64_t kGiB = int64_t{1} << 30;

int64_t total(const std::vector<PoolBytes>& pools) {
  int64_t bytes = 0;
  for (const PoolBytes& pool : pools) bytes += pool.bytes;
  return bytes;
}

class PlannerTest : public testing::Test {
 protected:
  PlannerTest() {
    request_.memory.host_memory = 6 * kGiB;
    request_.memory.workload = job(1000);
  }
  static Workload job(int64_t rows, int64_t prompt = 32, int64_t made = 32) {
    return {.rows = rows,
            .mean_prompt_tokens = static_cast<double>(prompt),
            .mean_new_tokens = static_cast<double>(made),
            .longest_prompt_tokens = prompt,
            .longest_row_tokens = prompt + made};
  }
  RunPlan plan() const { return plan_run(layout_, request_, profile_); }
  double rate() const { return plan().job.tokens_per_second(); }

  ModelLayout layout_ = shape_layout("bench/mistral-7b-shape");
  HardwareProfile profile_ = plain_cpu();
  PlanRequest request_;
};

TEST_F(PlannerTest, StaysWithinMemoryAndAboveWhatFixedSizesReach) {
  const RunPlan best = plan();
  EXPECT_LE(total(best.memory.pools), 6 * kGiB);
  for (const int32_t rows : {1, 16, 256, 1000}) {
    for (const int32_t tokens : {1000, 4000}) {
      request_.memory.max_sequences = rows;
      request_.memory.token_budget = tokens;
      const RunPlan fixed = plan();
      EXPECT_EQ(fixed.memory.max_sequences, rows);
      EXPECT_EQ(fixed.memory.token_budget, tokens);
      EXPECT_GE(best.job.tokens_per_second(), 0.98 * fixed.job.tokens_per_second())
          << rows << " rows, " << tokens << " tokens";
    }
  }
}

TEST_F(PlannerTest, FewRowsAreBoundByFetchManyByCompute) {
  request_.memory.workload = job(8);
  const RunPlan few = plan();
  EXPECT_EQ(few.job.busy.bound(), Bound::kFetch);
  EXPECT_GT(few.memory.resident_bytes(layout_), 4 * kGiB) << "what is left keeps weights";
  EXPECT_LT(few.job.seconds, 1.1 * few.job.bound_seconds());
  request_.memory.workload = job(5000);
  const RunPlan many = plan();
  EXPECT_EQ(many.job.busy.bound(), Bound::kCompute);
  EXPECT_GT(many.memory.max_sequences, 100);
}

TEST_F(PlannerTest, MoreOfAnythingIsNeverSlower) {
  request_.memory.workload = job(64);
  double last = 0;
  for (const int64_t memory : {2, 4, 6, 10, 16, 22}) {
    request_.memory.host_memory = memory * kGiB;
    EXPECT_GE(rate(), 0.99 * last) << memory << " GiB";
    last = rate();
  }
  request_.memory.host_memory = 4 * kGiB;
  const double slow = rate();
  profile_.storage->read.median *= 2;
  EXPECT_GT(rate(), slow);
}

// A run whose model and rows fit memory does not wait for rates; its plan is the same with them.
TEST_F(PlannerTest, RatesDoNotMatterWhereEverythingFits) {
  request_.memory.workload = job(64);
  EXPECT_FALSE(plan_without_rates(layout_, request_.memory, 0)) << "6 GiB";
  request_.memory.host_memory = 64 * kGiB;
  const MemoryPlan memory = plan_without_rates(layout_, request_.memory, 0).value();
  const RunPlan plan = this->plan();
  EXPECT_EQ(memory.max_sequences, 64);
  EXPECT_EQ(memory.token_budget, 64 * 32);
  EXPECT_EQ(memory.kv_blocks, 64 * 4);
  EXPECT_EQ(plan.memory.max_sequences, memory.max_sequences);
  EXPECT_EQ(plan.memory.token_budget, memory.token_budget);
  EXPECT_EQ(total(plan.memory.pools), total(memory.pools));
  EXPECT_GT(plan.job.tokens_per_second(), 0);
}

TEST_F(PlannerTest, KeysAndValuesGoToStorageWhereThatPays) {
  // Long rows: few fit memory, and a pass of few rows is bound by fetching the weights.
  request_.memory.host_memory = 3 * kGiB;
  request_.memory.workload = job(500, 3000, 500);
  request_.memory.kv_placement.kind = PlacementKind::kHost;
  const RunPlan memory = plan();
  EXPECT_FALSE(memory.memory.kv_overflows());
  request_.memory.kv_placement.kind = PlacementKind::kNvme;
  const RunPlan storage = plan();
  EXPECT_TRUE(storage.memory.kv_overflows());
  EXPECT_GT(storage.job.busy.storage, 0);
  request_.memory.kv_placement.kind = PlacementKind::kAuto;
  EXPECT_GE(rate(),
            0.99 * std::max(memory.job.tokens_per_second(), storage.job.tokens_per_second()));
}

TEST_F(PlannerTest, ADeviceWithMemoryOfItsOwnUsesTheHosts) {
  profile_ = plain_cuda();
  request_.memory.host_memory = 7 * kGiB;
  request_.host_memory = 4 * kGiB;
  const RunPlan plan = this->plan();
  EXPECT_LE(total(plan.memory.pools), 7 * kGiB);
  EXPECT_LE(total(plan.memory.host_pools), 4 * kGiB);
  EXPECT_GT(total(plan.memory.host_pools), 3 * kGiB);
  int tiers[3] = {};
  for (const Tier tier : plan.run.weights) ++tiers[static_cast<int>(tier)];
  EXPECT_GT(tiers[static_cast<int>(Tier::kHost)], 0);
  EXPECT_GT(tiers[static_cast<int>(Tier::kNvme)], 0);
  request_.memory.placement.kind = PlacementKind::kHost;
  try {
    this->plan();
    FAIL() << "accepted";
  } catch (const InfeasibleError& error) {
    EXPECT_THAT(error.what(), HasSubstr("host memory of 4.00 GiB lacks"));
  }
}

TEST_F(PlannerTest, RanksShareRowsAndFetches) {
  profile_ = plain_cuda();
  request_.host_memory = 64 * kGiB;
  request_.memory.workload = job(256);
  request_.memory.placement.kind = PlacementKind::kHost;
  const RunPlan one = plan();
  request_.ranks = 4;
  const RunPlan four = plan();
  EXPECT_EQ(four.job.generated_tokens * 4, one.job.generated_tokens);
  EXPECT_LT(four.job.seconds, one.job.seconds / 2);
}

TEST_F(PlannerTest, InfeasiblePlansSayWhatIsMissing) {
  request_.memory.host_memory = 64 << 20;
  try {
    plan();
    FAIL() << "accepted";
  } catch (const InfeasibleError& error) {
    EXPECT_THAT(error.what(), testing::AllOf(HasSubstr("missing"), HasSubstr("64.0 MiB"),
                                             HasSubstr("Raise host.memory")));
  }
}

TEST_F(PlannerTest, WhatIfsGoTheRightWay) {
  request_.memory.workload = job(16);
  const RunPlan now = plan();
  const StoreFormat format{.dtype = DType::kBF16, .compute_dtype = DType::kBF16};
  std::vector<std::string> changes;
  for (const WhatIf& what_if : what_ifs(layout_, format, request_, profile_, now)) {
    changes.push_back(what_if.change);
    EXPECT_GE(what_if.tokens_per_second, 0.99 * now.job.tokens_per_second()) << what_if.change;
    if (what_if.change == "storage twice as fast") {
      EXPECT_GT(what_if.tokens_per_second, 1.5 * now.job.tokens_per_second());
    }
  }
  EXPECT_THAT(changes,
              testing::ElementsAre("1 GiB more host memory", "storage twice as fast",
                                   "int8 weights", "int4 weights", "int8 keys and values"));
}

TEST_F(PlannerTest, SaysWhichLayoutToPackWhereRatesOfBothAreKnown) {
  profile_ = plain_cuda();
  request_.host_memory = 32 * kGiB;
  request_.memory.workload = job(5000);
  const auto advised = [&](WeightLayout layout) {
    const StoreFormat format{
        .dtype = DType::kBF16, .compute_dtype = DType::kBF16, .layout = layout};
    layout_ = make_layout(layout_.config, format);
    for (const WhatIf& what_if : what_ifs(layout_, format, request_, profile_, plan()))
      if (what_if.change.starts_with("pack ")) return what_if.change;
    return std::string();
  };
  EXPECT_EQ(advised(WeightLayout::kTile64), "") << "nothing is known of rows";
  GemmRates rates = profile_.compute.gemm.front();
  rates.layout = WeightLayout::kRows;
  profile_.compute.gemm.push_back(rates);
  EXPECT_EQ(advised(WeightLayout::kTile64), "") << "both are alike";
  profile_.compute.gemm.back().points.back().flops.median *= 2;
  EXPECT_EQ(advised(WeightLayout::kTile64), "pack --layout rows");
  EXPECT_EQ(advised(WeightLayout::kRows), "");
  profile_.compute.gemm.back().points.back().flops.median /= 4;
  EXPECT_EQ(advised(WeightLayout::kRows), "pack --layout tile64");
}

// Where arithmetic is fast beside the link, a pass carries as many tokens as it takes to compute as
// long as the weights come.
TEST_F(PlannerTest, TokenBudgetsMeetFetchTimeOnADevice) {
  profile_ = plain_cuda();
  profile_.compute.gemm.front().points = {{1, {.median = 100e12 / 512}}, {512, {.median = 100e12}}};
  request_.memory.host_memory = 60 * kGiB;
  request_.host_memory = 64 * kGiB;
  request_.memory.placement = {.kind = PlacementKind::kHost};
  request_.memory.workload = job(20000, 256, 2);
  const RunPlan plan = this->plan();
  EXPECT_EQ(plan.run.weights.front(), Tier::kHost);
  EXPECT_GT(plan.memory.token_budget, 4096);
  EXPECT_LE(plan.memory.token_budget, 32768);
  EXPECT_LT(plan.job.seconds, 1.25 * plan.job.bound_seconds());
  request_.memory.token_budget = 2048;
  EXPECT_GT(this->plan().job.seconds, 1.5 * plan.job.seconds);
}

TEST_F(PlannerTest, RowsThatNobodyKnowsArePlannedFor) {
  request_.memory.workload = {};
  const RunPlan plan = this->plan();
  EXPECT_GT(plan.job.tokens_per_second(), 0);
  EXPECT_GT(plan.memory.max_sequences, 1);
}

// However little memory there is: it holds one of the longest.
TEST_F(PlannerTest, LongRowsWithoutEndArePlannedFor) {
  request_.memory.workload = job(0, 20000, 32);
  request_.memory.kv_placement.kind = PlacementKind::kHost;
  request_.memory.host_memory = 4 * kGiB;
  const RunPlan plan = this->plan();
  EXPECT_GE(plan.memory.kv_blocks * plan.wave.block_tokens, 20032);
  EXPECT_GT(plan.job.tokens_per_second(), 0);
}

TEST(PlanModel, ReadsHeadersOfGgufFilesAndOfFolders) {
  const std::string folder = std::string(ZS_TEST_DATA) + "/llama3-gguf";
  const PlannedModel file = plan_model(folder + "/model.gguf", {});
  EXPECT_GT(file.layout.weights_bytes(), 0);
  EXPECT_EQ(file.layout.segments.size(), plan_model(folder, {}).layout.segments.size());
}

}  // namespace
}  // namespace zerostream
