#include "offload/simulator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "offload/planner.h"
#include "tests/offload/planning_case.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr double kTick = 1e-9;

// A random model, plan and machine. Members stay where they are: a Simulator refers to them.
struct RandomCase {
  explicit RandomCase(std::mt19937& random, bool own_memory)
      : layout(random_layout(random)), profile(own_memory ? plain_cuda() : plain_cpu()) {
    std::uniform_real_distribution<double> factor(-2, 2);
    profile.storage->read.median *= std::exp2(factor(random));
    profile.compute.gemm.front().points.back().flops.median *= std::exp2(factor(random));
    if (own_memory) profile.link->to_device.median *= std::exp2(factor(random));
    for (size_t i = 0; i < layout.segments.size(); ++i)
      run.weights.push_back(random() % 4 == 0                 ? Tier::kDevice
                            : own_memory && random() % 2 == 0 ? Tier::kHost
                                                              : Tier::kNvme);
    run.prefetch_depth = static_cast<int32_t>(random() % 6);
  }
  static PassShape shape(std::mt19937& random) {
    PassShape shape = PassShape::decode(1 + random() % 40, 1 + random() % 200);
    if (random() % 2 == 0) shape.add_row(random() % 100, 1 + random() % 400, true);
    return shape;
  }

  ModelLayout layout;
  HardwareProfile profile;
  SimulatedRun run;
};

int64_t bytes_of(const SimulatedFetch& fetch) { return fetch.slot_end - fetch.slot_begin; }

// What must hold of every fetch, at every moment.
void check_fetches(const std::vector<SimulatedFetch>& fetches, const Simulator& simulator) {
  const int depth = simulator.run().prefetch_depth;
  for (size_t i = 0; i < fetches.size(); ++i) {
    const SimulatedFetch& fetch = fetches[i];
    ASSERT_LE(fetch.submitted, fetch.begun);
    ASSERT_LT(fetch.begun, fetch.ready);
    ASSERT_LE(fetch.slot_end, simulator.ring_bytes());
    ASSERT_GE(fetch.stall_seconds, 0);
    if (fetch.used) {
      ASSERT_GE(fetch.first_use, fetch.ready - kTick);
      ASSERT_GE(fetch.last_use_end, fetch.first_use);
    }
    int64_t held = bytes_of(fetch);
    int slots = 1;
    for (size_t j = 0; j < i; ++j) {
      const SimulatedFetch& before = fetches[j];
      ASSERT_LE(before.begun, fetch.begun) << "slots are taken in order";
      if (before.used && before.last_use_end <= fetch.begun + kTick) continue;
      held += bytes_of(before), ++slots;
      ASSERT_TRUE(before.slot_end <= fetch.slot_begin || fetch.slot_end <= before.slot_begin)
          << "a slot is reused before its last reader is done";
    }
    ASSERT_LE(held, simulator.ring_bytes());
    ASSERT_LE(slots, depth + 1);
  }
}

TEST(Simulator, SlotsRingAndOrderHoldForThousandsOfPlans) {
  std::mt19937 random(11);
  for (int i = 0; i < 3000; ++i) {
    const RandomCase made(random, i % 2 == 1);
    const Simulator simulator(made.layout, made.profile, made.run);
    std::vector<PassShape> passes;
    for (int pass = 0; pass < 3; ++pass) passes.push_back(RandomCase::shape(random));
    check_fetches(simulator.fetches(passes), simulator);
    ASSERT_FALSE(testing::Test::HasFatalFailure()) << "case " << i;
  }
}

// Nothing but a counted stall keeps the compute stream from working, and no resource does more in a
// pass than there is time.
TEST(Simulator, APassIsArithmeticAndCountedStalls) {
  std::mt19937 random(12);
  for (int i = 0; i < 2000; ++i) {
    RandomCase made(random, i % 2 == 1);
    if (i % 3 == 0) {
      made.run.kv = i % 2 == 1 && random() % 2 == 0 ? Tier::kHost : Tier::kNvme;
      made.run.kv_share = 0.5;
      made.run.kv_ring_bytes = 4 << 20;
    }
    const Simulator simulator(made.layout, made.profile, made.run);
    const PassPrediction pass = simulator.pass(RandomCase::shape(random));
    const double idle = pass.weights_stall_seconds + pass.kv_stall_seconds;
    ASSERT_NEAR(pass.seconds, pass.busy.compute + idle, 1e-3 * pass.seconds) << "case " << i;
    ASSERT_GE(pass.seconds, pass.busy.most() * (1 - 2e-3)) << "case " << i;
  }
}

TEST(Simulator, WithoutPrefetchNothingOverlaps) {
  std::mt19937 random(13);
  for (int i = 0; i < 300; ++i) {
    RandomCase made(random, false);
    made.run.weights.assign(made.layout.segments.size(), Tier::kNvme);
    made.run.prefetch_depth = 0;
    const PassShape shape = RandomCase::shape(random);
    const Simulator simulator(made.layout, made.profile, made.run);
    const PassPrediction none = simulator.pass(shape);
    const double sum = none.busy.storage + none.busy.compute;
    ASSERT_LE(none.seconds, sum + kTick);
    // Only embedding the tokens needs no fetch.
    ASSERT_GE(none.seconds, sum - simulator.costs().embed_seconds(shape) - kTick);
    made.run.prefetch_depth = 3;
    const PassPrediction some = Simulator(made.layout, made.profile, made.run).pass(shape);
    ASSERT_LE(some.seconds, none.seconds * (1 + 1e-9));
  }
}

TEST(Simulator, ALargeModelTakesAsLongAsItsSlowestPart) {
  const ModelLayout layout = shape_layout("bench/mistral-7b-shape");
  HardwareProfile profile = plain_cpu();
  SimulatedRun run;
  run.weights.assign(layout.segments.size(), Tier::kNvme);
  run.prefetch_depth = 4;
  const Simulator simulator(layout, profile, run);
  const PassPrediction few = simulator.pass(PassShape::decode(8, 64));
  EXPECT_NEAR(few.seconds, few.busy.storage, 0.02 * few.seconds);
  EXPECT_NEAR(few.busy.storage, static_cast<double>(simulator.streamed_bytes()) / 2e9, 0.01);
  EXPECT_EQ(few.busy.bound(), Bound::kFetch);
  EXPECT_STREQ(bound_name(few.busy.bound()), "fetch");
  const PassPrediction many = simulator.pass(PassShape::decode(2048, 64));
  EXPECT_NEAR(many.seconds, many.busy.compute, 0.02 * many.seconds);
  EXPECT_EQ(many.busy.bound(), Bound::kCompute);
  EXPECT_LT(many.weights_stall_seconds, 0.02 * many.seconds);
}

TEST(Simulator, StagesOfAFetchOverlap) {
  const ModelLayout layout = shape_layout("models/opt-6.7b");
  HardwareProfile profile = plain_cuda();
  for (GemmRates::Point& point : profile.compute.gemm.front().points) point.flops.median *= 64;
  SimulatedRun run;
  run.prefetch_depth = 2;
  const auto pass = [&](Tier tier, int32_t ranks) {
    run.weights.assign(layout.segments.size(), tier);
    run.weights.front() = Tier::kDevice;  // embeddings
    run.costs.ranks = ranks;
    return Simulator(layout, profile, run).pass(PassShape::decode(4, 16));
  };
  const PassPrediction nvme = pass(Tier::kNvme, 1);
  EXPECT_GT(nvme.busy.upload, 0);
  EXPECT_NEAR(nvme.seconds, nvme.busy.storage, 0.02 * nvme.seconds);
  const PassPrediction host = pass(Tier::kHost, 1);
  EXPECT_EQ(host.busy.storage, 0);
  EXPECT_NEAR(host.seconds, host.busy.upload, 0.02 * host.seconds);
  EXPECT_EQ(host.busy.bound(), Bound::kCopy);
  const PassPrediction four = pass(Tier::kHost, 4);
  EXPECT_NEAR(four.busy.upload, host.busy.upload / 4, 1e-6);
  EXPECT_GT(four.busy.gather, 0);
  EXPECT_NEAR(four.seconds, four.busy.copy(), 0.03 * four.seconds);
}

// As the planner sets it up, with the depth and slots that a run would have; from one row to as
// many as the device has room for.
TEST(Simulator, TheLinkIsBusyWhileWeightsComeFromHostMemory) {
  const ModelLayout layout = shape_layout("models/opt-30b");
  for (const std::string machine : {"v100-32gb-dgx2", "a6000-workstation", "h100-80gb"}) {
    const HardwareProfile profile =
        read_hardware_profile(config_path("hardware/" + machine + ".yaml"));
    PlanRequest request{
        .memory = {.host_memory = profile.compute.memory.bytes / 100 * 95,
                   .own_memory = true,
                   .placement = {.kind = PlacementKind::kHost},
                   .kv_placement = {.kind = PlacementKind::kHost, .device = Share{}},
                   .workload = {.rows = 1000,
                                .mean_prompt_tokens = 64,
                                .mean_new_tokens = 64,
                                .longest_prompt_tokens = 64,
                                .longest_row_tokens = 128}},
        .host_memory = profile.host.bytes / 100 * 95};
    const RunPlan plan = plan_run(layout, request, profile);
    const Simulator simulator(layout, profile, plan.run);
    EXPECT_THAT(plan.run.weights, testing::Each(Tier::kHost)) << machine;
    const int64_t most_rows = plan.wave.kv_blocks * plan.wave.block_tokens / 128;
    EXPECT_GT(most_rows, 100) << machine;
    for (const int64_t rows : {int64_t{1}, int64_t{16}, most_rows}) {
      const PassPrediction pass = simulator.pass(PassShape::decode(rows, 128));
      EXPECT_EQ(pass.busy.bound(), Bound::kCopy) << machine;
      EXPECT_GE(pass.busy.upload / pass.seconds, 0.98) << machine << ", " << rows << " rows";
    }
  }
}

TEST(Simulator, KeysAndValuesOnStorageShareItWithWeights) {
  const ModelLayout layout = shape_layout("bench/mistral-7b-shape");
  const HardwareProfile profile = plain_cpu();
  SimulatedRun run;
  run.weights.assign(layout.segments.size(), Tier::kNvme);
  run.prefetch_depth = 4;
  const PassShape shape = PassShape::decode(64, 1000);
  const double weights = Simulator(layout, profile, run).pass(shape).busy.storage;
  run.kv = Tier::kNvme;
  run.kv_share = 1;
  run.kv_ring_bytes = int64_t{256} << 20;
  const Simulator simulator(layout, profile, run);
  EXPECT_EQ(simulator.kv_micro_batches(shape), 4);  // 250 MiB a layer, slots of 64 MiB
  const PassPrediction pass = simulator.pass(shape);
  const double kv = 64.0 * 1000 * 32 * 2 * 1024 * 2 / 2e9;
  EXPECT_NEAR(pass.busy.storage, weights + kv + 64 * 32 * 4096 / 1e9, 0.01 * pass.busy.storage);
  EXPECT_NEAR(pass.seconds, pass.busy.storage, 0.05 * pass.seconds);
  run.kv_share = 0.5;
  EXPECT_NEAR(Simulator(layout, profile, run).pass(shape).busy.storage, weights + kv / 2,
              0.01 * pass.busy.storage);
}

TEST(Simulator, WhatGoesDownTheLinkDelaysWhatComesUp) {
  const ModelLayout layout = shape_layout("bench/mistral-7b-shape");
  HardwareProfile profile = plain_cuda();
  SimulatedRun run;
  run.weights.assign(layout.segments.size(), Tier::kHost);
  run.prefetch_depth = 4;
  run.kv = Tier::kHost;
  run.kv_share = 1;
  run.kv_ring_bytes = int64_t{256} << 20;
  const PassShape shape = PassShape::decode(64, 100);
  const auto seconds = [&] { return Simulator(layout, profile, run).pass(shape).seconds; };
  const double apart = seconds();
  profile.link->both_ways.median = profile.link->to_device.median;
  const double written = 64.0 * 32 * 4096 / 10e9;
  EXPECT_NEAR(seconds(), apart + written, 0.1 * written);
}

TEST(Simulator, RefusesWhatTheProfileLacks) {
  std::mt19937 random(14);
  RandomCase made(random, false);
  made.run.weights.assign(made.layout.segments.size(), Tier::kHost);
  EXPECT_THROW(Simulator(made.layout, made.profile, made.run), UsageError);
  made.run.weights.assign(made.layout.segments.size(), Tier::kNvme);
  made.profile.storage.reset();
  EXPECT_THROW(Simulator(made.layout, made.profile, made.run), UsageError);
}

}  // namespace
}  // namespace zerostream
