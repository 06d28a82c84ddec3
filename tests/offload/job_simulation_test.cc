#include "offload/job_simulation.h"

#include <gtest/gtest.h>

#include "tests/offload/planning_case.h"

namespace zerostream {
namespace {

class JobSimulationTest : public testing::Test {
 protected:
  JobSimulationTest() {
    run_.weights.assign(layout_.segments.size(), Tier::kNvme);
    run_.prefetch_depth = 4;
  }
  Simulator simulator() const { return {layout_, profile_, run_}; }

  ModelLayout layout_ = shape_layout("bench/mistral-7b-shape");
  HardwareProfile profile_ = plain_cpu();
  SimulatedRun run_;
  SimulatedWave wave_{.max_sequences = 8, .token_budget = 64, .kv_blocks = 1000};
};

TEST_F(JobSimulationTest, CountsPassesAndTokens) {
  const Simulator simulator = this->simulator();
  const std::vector<RowTokens> rows(8, RowTokens{.prompt = 16, .generated = 5});
  const JobPrediction job = simulate_rows(simulator, wave_, rows);
  EXPECT_EQ(job.prefill_passes, 3);  // 64 prompt tokens, 60 beside 4 rows that decode, the last 4
  EXPECT_EQ(job.prompt_tokens, 128);
  EXPECT_EQ(job.generated_tokens, 40);
  EXPECT_EQ(job.most_rows, 8);
  EXPECT_NEAR(job.seconds, job.prefill_seconds + job.decode_seconds, 1e-9);
  EXPECT_NEAR(job.seconds,
              static_cast<double>(job.prefill_passes + job.decode_passes) *
                  static_cast<double>(simulator.streamed_bytes()) / 2e9,
              0.1 * job.seconds);
}

TEST_F(JobSimulationTest, TellsDecodePassesFromOthers) {
  profile_.storage->read.median = 1e9;
  wave_.token_budget = 2048;
  const std::vector<RowTokens> rows(8, RowTokens{.prompt = 2000, .generated = 5});
  const JobPrediction job = simulate_rows(simulator(), wave_, rows);
  EXPECT_EQ(job.decode_busy.bound(), Bound::kFetch);
  EXPECT_EQ((job.busy - job.decode_busy).bound(), Bound::kCompute);
  EXPECT_NEAR(job.decode_busy.storage,
              job.busy.storage * static_cast<double>(job.decode_passes) /
                  static_cast<double>(job.decode_passes + job.prefill_passes),
              0.01 * job.busy.storage);
}

TEST_F(JobSimulationTest, RowsWaitForMemoryAndLeave) {
  wave_.kv_blocks = 4;  // two rows of two blocks
  const std::vector<RowTokens> rows(6, RowTokens{.prompt = 16, .generated = 10});
  const JobPrediction job = simulate_rows(simulator(), wave_, rows);
  EXPECT_EQ(job.most_rows, 2);
  EXPECT_EQ(job.prefill_passes + job.decode_passes, 3 * 10);
}

TEST_F(JobSimulationTest, LongJobsGoOnLikeTheirBeginning) {
  Workload workload{.rows = 40,
                    .mean_prompt_tokens = 20,
                    .mean_new_tokens = 10,
                    .longest_prompt_tokens = 30,
                    .longest_row_tokens = 45};
  const Simulator simulator = this->simulator();
  const JobPrediction once = simulate_job(simulator, wave_, workload);
  workload.rows = 400;
  const JobPrediction ten = simulate_job(simulator, wave_, workload);
  EXPECT_NEAR(ten.generated_tokens, 10 * once.generated_tokens, 0.02 * ten.generated_tokens);
  EXPECT_NEAR(ten.seconds, 10 * once.seconds, 0.1 * ten.seconds);
  EXPECT_GT(ten.tokens_per_second(), 0.98 * once.tokens_per_second());
}

TEST(SpreadRows, KeepMeansAndLimits) {
  const Workload workload{.rows = 128,
                          .mean_prompt_tokens = 132,
                          .mean_new_tokens = 68,
                          .longest_prompt_tokens = 256,
                          .longest_row_tokens = 384};
  double prompt = 0, made = 0;
  int64_t shortest = 1000, longest = 0;
  for (const RowTokens& row : spread_rows(workload, 1000)) {
    prompt += static_cast<double>(row.prompt) / 1000;
    made += static_cast<double>(row.generated) / 1000;
    shortest = std::min(shortest, row.prompt);
    longest = std::max(longest, row.prompt);
  }
  EXPECT_NEAR(prompt, 132, 1);
  EXPECT_NEAR(made, 68, 1);
  EXPECT_NEAR(static_cast<double>(shortest), 8, 2);
  EXPECT_NEAR(static_cast<double>(longest), 256, 2);
  for (const RowTokens& row : spread_rows({.rows = 1,
                              .mean_prompt_tokens = 7,
                              .mean_new_tokens = 3,
                              .longest_prompt_tokens = 7,
                              .longest_row_tokens = 10},
                                          20)) {
    EXPECT_EQ(row.prompt, 7);
    EXPECT_EQ(row.generated, 3);
  }
}

// Long prompts of short answers beside short ones of long answers.
TEST(SpreadRows, AreNeverLongerThanTheLongest) {
  const Workload workload{.rows = 2,
                          .mean_prompt_tokens = 44.5,
                          .mean_new_tokens = 20.5,
                          .longest_prompt_tokens = 79,
                          .longest_row_tokens = 80};
  for (const RowTokens& row : spread_rows(workload, 100)) {
    EXPECT_LE(row.prompt + row.generated, 80);
    EXPECT_GE(row.generated, 1);
  }
}

}  // namespace
}  // namespace zerostream
