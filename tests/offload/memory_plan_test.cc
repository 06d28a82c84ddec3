#include "offload/memory_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

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
  const ModelLayout& layout() { return model_.store().layout(); }
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
    request.kv_placement.kind = static_cast<PlacementKind>(random() % 3);
    request.kv_slot_bytes = kTileBytes << random() % 8;
    if (random() % 2 == 0)
      request.workload = {.rows = 1 + static_cast<int64_t>(random() % 50),
                          .mean_prompt_tokens = 5,
                          .mean_new_tokens = 7,
                          .longest_prompt_tokens = 20,
                          .longest_row_tokens = 30};
    request.prefetch_depth = static_cast<int32_t>(random() % 6) - 1;
    request.max_sequences = static_cast<int32_t>(random() % 3 * 5);
    request.token_budget = static_cast<int32_t>(random() % 3 * 40);
    try {
      const MemoryPlan plan = plan_memory(layout(), request);
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
        EXPECT_EQ(plan.resident_bytes(layout()), 0);
      }
    } catch (const InfeasibleError&) {
    }
  }
  EXPECT_GT(feasible, 100);
  EXPECT_LT(feasible, 500);
}

// A deep model's worth of segments.
ModelLayout deep_layout(const ModelLayout& like) {
  ModelLayout layout = like;
  layout.segments.clear();
  for (int i = 0; i < 120; ++i) {
    Segment segment;
    segment.bytes = (i % 3 == 0 ? 3 : 5) * 16 * kTileBytes;
    segment.matrices.push_back({.role = MatrixRole::kMlpUp, .layer = i / 3});
    layout.segments.push_back(segment);
  }
  return layout;
}

// With less and less memory, more and more segments stream, and what is there is used.
TEST_F(MemoryPlanTest, AutoKeepsWhatFits) {
  const ModelLayout deep = deep_layout(layout());
  const int64_t largest = 5 * 16 * kTileBytes;
  MemoryRequest request;
  request.max_sequences = 1;
  request.token_budget = 1;
  request.prefetch_depth = 1;
  request.workload = {.rows = 1,
                      .mean_prompt_tokens = 8,
                      .mean_new_tokens = 8,
                      .longest_prompt_tokens = 8,
                      .longest_row_tokens = 16};
  int64_t before = deep.weights_bytes();
  std::set<int64_t> sizes;
  for (request.host_memory = 2 * before;; request.host_memory = request.host_memory * 24 / 25) {
    MemoryPlan plan;
    try {
      plan = plan_memory(deep, request);
    } catch (const InfeasibleError&) {
      break;
    }
    const int64_t resident = plan.resident_bytes(deep);
    EXPECT_LE(resident, before);
    before = resident;
    sizes.insert(resident);
    if (resident < deep.weights_bytes() && resident > 0) {
      EXPECT_GT(total(plan) + 3 * largest, request.host_memory) << "memory lies idle";
    }
  }
  EXPECT_GT(sizes.size(), 30u);
  EXPECT_EQ(before, 0);
}

TEST_F(MemoryPlanTest, SharesAreKept) {
  MemoryRequest request;
  request.host_memory = int64_t{1} << 30;
  request.placement.kind = PlacementKind::kShares;
  request.placement.host = Share{.kind = Share::Kind::kFraction, .fraction = 0.5};
  request.placement.nvme = Share{};
  const MemoryPlan plan = plan_memory(layout(), request);
  EXPECT_LE(plan.resident_bytes(layout()), layout().weights_bytes() / 2);
  EXPECT_GT(plan.resident_bytes(layout()), layout().weights_bytes() / 4);
}

// Resident segments lie evenly over the depth of a deep model.
TEST_F(MemoryPlanTest, ResidentSegmentsAreSpread) {
  const ModelLayout layout = deep_layout(this->layout());
  for (const double share : {0.1, 0.3, 0.5, 0.77}) {
    const auto bytes = static_cast<int64_t>(share * static_cast<double>(layout.weights_bytes()));
    const std::vector<bool> resident = choose_resident(layout, bytes);
    int64_t held = 0, all = 0;
    for (int i = 0; i < 120; ++i) {
      all += layout.segments[i].bytes;
      if (resident[i]) held += layout.segments[i].bytes;
      EXPECT_NEAR(static_cast<double>(held), share * static_cast<double>(all), 160.0 * kTileBytes);
    }
    EXPECT_LE(held, bytes);
    EXPECT_GE(held, bytes - 5 * 16 * kTileBytes);
  }
}

TEST_F(MemoryPlanTest, KeysAndValuesOnStorageLeaveMemoryForWeights) {
  MemoryRequest request;
  request.host_memory = int64_t{64} << 20;
  request.max_sequences = 16;
  request.token_budget = 16;
  request.workload = {.rows = 100,
                      .mean_prompt_tokens = 50,
                      .mean_new_tokens = 50,
                      .longest_prompt_tokens = 60,
                      .longest_row_tokens = 120};
  const MemoryPlan in_memory = plan_memory(layout(), request);
  EXPECT_FALSE(in_memory.kv_overflows());
  request.kv_placement.kind = PlacementKind::kNvme;
  const MemoryPlan on_storage = plan_memory(layout(), request);
  EXPECT_TRUE(on_storage.kv_overflows());
  EXPECT_EQ(on_storage.kv_blocks, 16 * layout().config.max_position_embeddings / 16);
  EXPECT_LT(on_storage.kv_memory_blocks, in_memory.kv_memory_blocks);
  EXPECT_GT(on_storage.kv_ring_bytes, 0);
  EXPECT_LT(on_storage.kv_ring_bytes, request.kv_slot_bytes) << "slots are for what rows have";
}

TEST_F(MemoryPlanTest, ManyRowsGetTheirTokens) {
  MemoryRequest request;
  request.host_memory = int64_t{4} << 30;
  request.max_sequences = 5000;
  EXPECT_EQ(plan_memory(layout(), request).max_sequences, 5000);
  EXPECT_GE(plan_memory(layout(), request).token_budget, 5000);
  request.token_budget = 4999;
  EXPECT_THROW(plan_memory(layout(), request), UsageError);
}

// Where memory is plenty, a job takes what its rows can use and no more.
TEST_F(MemoryPlanTest, SizesAreThoseThatTheJobCanUse) {
  MemoryRequest request;
  request.host_memory = int64_t{1} << 30;
  const MemoryPlan unknown = plan_memory(layout(), request);
  EXPECT_EQ(unknown.max_sequences, 256);
  EXPECT_EQ(unknown.token_budget, 2048);
  EXPECT_EQ(unknown.kv_blocks, 256 * layout().config.max_position_embeddings / 16);
  request.workload = {.rows = 3,
                      .mean_prompt_tokens = 5,
                      .mean_new_tokens = 7,
                      .longest_prompt_tokens = 9,
                      .longest_row_tokens = 20};
  const MemoryPlan known = plan_memory(layout(), request);
  EXPECT_EQ(known.max_sequences, 3);
  EXPECT_EQ(known.token_budget, 27);
  EXPECT_EQ(known.kv_blocks, 3 * 2);
  EXPECT_EQ(known.resident_bytes(layout()), layout().weights_bytes());
  request.workload.rows = 1000;
  EXPECT_EQ(plan_memory(layout(), request).max_sequences, 256);
  EXPECT_EQ(plan_memory(layout(), request).token_budget, 2048);
  EXPECT_EQ(plan_memory(layout(), request).kv_blocks, 256 * 2);
  request.max_sequences = 2;
  EXPECT_EQ(plan_memory(layout(), request).kv_blocks, 2 * 2);
}

TEST_F(MemoryPlanTest, RefusalsSayWhatIsMissingAndWhatWouldFit) {
  MemoryRequest request;
  request.host_memory = 64 << 10;
  request.placement.kind = PlacementKind::kHost;
  try {
    plan_memory(layout(), request);
    FAIL() << "accepted";
  } catch (const InfeasibleError& error) {
    const std::string message = error.what();
    for (const char* part :
         {"64.0 KiB", "missing", "resident weights", "kv cache", "placement: nvme"})
      EXPECT_NE(message.find(part), std::string::npos) << message;
  }
}

// The head serves scored rows in parts of some size, even where few rows are wanted at once.
TEST_F(MemoryPlanTest, ScoringHasLogitsOfManyRows) {
  MemoryRequest request;
  request.host_memory = int64_t{64} << 20;
  request.max_sequences = 2;
  request.token_budget = 1000;
  const MemoryPlan plan = plan_memory(layout(), request);
  EXPECT_EQ(plan.logit_rows, 2);
  request.workload.scored = true;
  const MemoryPlan scoring = plan_memory(layout(), request);
  EXPECT_EQ(scoring.logit_rows, 128);
  const auto activations = [](const MemoryPlan& of) {
    return std::find_if(of.pools.begin(), of.pools.end(),
                        [](const PoolBytes& pool) { return pool.name == "activations"; })
        ->bytes;
  };
  EXPECT_GE(activations(scoring) - activations(plan), 126 * layout().config.vocab_size * 4);
  request.token_budget = 40;
  EXPECT_EQ(plan_memory(layout(), request).logit_rows, 40);
}

}  // namespace
}  // namespace zerostream
