#include "offload/memory_plan.h"

#include <algorithm>

#include "base/bytes.h"
#include "model/activations.h"
#include "offload/embedding_reader.h"
#include "offload/kv_pool.h"
#include "offload/schedule.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr int32_t kDefaultSequences = 256;
constexpr int32_t kDefaultTokenBudget = 2048;
constexpr int32_t kMinPassTokens = 16;  // auto sizes shrink to this before a plan is given up
constexpr int32_t kMaxDepth = 64;
constexpr int64_t kAheadBytes = int64_t{512} << 20;  // auto depth keeps about so much on its way

int64_t sum_bytes(const std::vector<PoolBytes>& pools) {
  int64_t sum = 0;
  for (const PoolBytes& pool : pools) sum += pool.bytes;
  return sum;
}

// Segments ahead, so that their bytes keep the disk busy while one is in use: at least 2, at most
// kMaxDepth.
int32_t automatic_depth(const PackedStore& store, int64_t host_memory) {
  const int64_t ahead = std::min(kAheadBytes, host_memory / 6);
  int64_t bytes = 0, count = 0;
  for (const Segment& segment : store.segments())
    if (!is_embedding(segment)) bytes += segment.bytes, ++count;
  if (bytes == 0) return 0;
  return static_cast<int32_t>(std::clamp<int64_t>(ahead * count / bytes, 2, kMaxDepth));
}

int64_t resident_bytes(const PackedStore& store, const std::vector<bool>& resident) {
  int64_t bytes = 0;
  for (size_t i = 0; i < resident.size(); ++i)
    if (resident[i]) bytes += store.segments()[i].bytes;
  return bytes;
}

// Pools of everything but KV, for one choice of sizes.
std::vector<PoolBytes> fixed_pools(const PackedStore& store, const MemoryPlan& plan) {
  int64_t staging = 0;
  for (MatrixRole role : {MatrixRole::kTokenEmbedding, MatrixRole::kPositionEmbedding})
    staging += EmbeddingReader::staging_bytes(role, store, plan.resident, plan.token_budget);
  return {{"vectors", store.vectors_segment().bytes},
          {"resident weights", resident_bytes(store, plan.resident)},
          {"slots", plan.ring_bytes},
          {"embedding rows", staging},
          {"activations", Activations::bytes(store.config(), store.layout().compute_dtype,
                                             plan.token_budget, plan.max_sequences)}};
}

std::string describe(const std::vector<PoolBytes>& pools) {
  std::string text;
  for (const PoolBytes& pool : pools)
    if (pool.bytes > 0)
      text += (text.empty() ? "" : ", ") + pool.name + " " + format_bytes(pool.bytes);
  return text;
}

class Planner {
 public:
  Planner(const PackedStore& store, const MemoryRequest& request)
      : store_(store), request_(request) {
    row_block_bytes_ =
        KvPool::block_bytes(store.config(), store.layout().compute_dtype, request.block_tokens);
  }

  // The plan with everything resident or everything streamed.
  MemoryPlan plan(bool resident) const {
    MemoryPlan plan;
    plan.resident.assign(store_.segments().size(), resident);
    plan.prefetch_depth = request_.prefetch_depth >= 0
                              ? request_.prefetch_depth
                              : automatic_depth(store_, request_.host_memory);
    plan.ring_bytes =
        make_schedule(store_.segments(), {plan.resident, plan.prefetch_depth}).ring_bytes;
    plan.token_budget = request_.token_budget > 0
                            ? request_.token_budget
                            : std::max(kDefaultTokenBudget, request_.max_sequences);
    plan.max_sequences = request_.max_sequences > 0
                             ? request_.max_sequences
                             : std::min(kDefaultSequences, plan.token_budget);
    while (!leaves_kv(plan, plan.max_sequences) && shrink(plan)) {
    }
    plan.pools = fixed_pools(store_, plan);
    const int64_t blocks_per_row =
        ceil_div(store_.config().max_position_embeddings, request_.block_tokens);
    const int64_t left = request_.host_memory - sum_bytes(plan.pools);
    plan.kv_blocks = std::min(std::max<int64_t>(left, 0) / row_block_bytes_,
                              plan.max_sequences * blocks_per_row);
    plan.pools.push_back({"kv cache", plan.kv_blocks * row_block_bytes_});
    return plan;
  }

  bool feasible(const MemoryPlan& plan) const { return plan.kv_blocks >= kv_blocks_wanted(1); }

  // Nothing had to shrink for it.
  bool roomy(const MemoryPlan& plan) const {
    const bool rows = request_.max_sequences > 0 || plan.max_sequences == kDefaultSequences;
    return rows && feasible(plan) && leaves_kv(plan, plan.max_sequences);
  }

  [[noreturn]] void refuse(const MemoryPlan& plan) const {
    std::vector<PoolBytes> pools = plan.pools;
    pools.back().bytes = kv_blocks_wanted(1) * row_block_bytes_;
    const int64_t needed = sum_bytes(pools);
    throw InfeasibleError(
        "the run needs at least " + format_bytes(needed) + " of host memory (" + describe(pools) +
        ") but may use " + format_bytes(request_.host_memory) + ": " +
        format_bytes(needed - request_.host_memory) +
        " are missing. Raise host.memory, or lower prefetch.depth, batch.token_budget or "
        "batch.max_sequences" +
        (plan.resident.front() ? ", or set weights.placement: nvme" : ""));
  }

 private:
  // Blocks of `rows` rows of a modest context: what a plan should at least offer.
  int64_t kv_blocks_wanted(int64_t rows) const {
    const int64_t context = std::min<int64_t>(store_.config().max_position_embeddings, 256);
    return rows * ceil_div(context, request_.block_tokens);
  }
  bool leaves_kv(const MemoryPlan& plan, int64_t rows) const {
    const int64_t left = request_.host_memory - sum_bytes(fixed_pools(store_, plan));
    return left >= kv_blocks_wanted(rows) * row_block_bytes_;
  }
  // Halves what was left to the plan; the depth only where not even one row would fit. False when
  // there is nothing to halve.
  bool shrink(MemoryPlan& plan) const {
    const int32_t fewest_tokens = std::max(kMinPassTokens, request_.max_sequences);
    const bool budget = request_.token_budget <= 0 && plan.token_budget / 2 >= fewest_tokens;
    const bool sequences = request_.max_sequences <= 0 && plan.max_sequences > 1;
    if (budget) plan.token_budget /= 2;
    if (sequences) plan.max_sequences = std::min(plan.max_sequences / 2, plan.token_budget);
    if (budget || sequences) return true;
    if (leaves_kv(plan, 1) || request_.prefetch_depth >= 0 || plan.prefetch_depth <= 1)
      return false;
    plan.prefetch_depth /= 2;
    plan.ring_bytes =
        make_schedule(store_.segments(), {plan.resident, plan.prefetch_depth}).ring_bytes;
    return true;
  }

  const PackedStore& store_;
  const MemoryRequest& request_;
  int64_t row_block_bytes_ = 0;
};

}  // namespace

MemoryPlan plan_memory(const PackedStore& store, const MemoryRequest& request) {
  if (request.token_budget > 0 && request.max_sequences > request.token_budget)
    throw UsageError("batch.max_sequences: " + std::to_string(request.max_sequences) +
                     " rows need a token each in a pass, but batch.token_budget is " +
                     std::to_string(request.token_budget));
  const Planner planner(store, request);
  if (request.placement.kind != PlacementKind::kNvme) {
    MemoryPlan plan = planner.plan(true);
    if (request.placement.kind == PlacementKind::kHost && !planner.feasible(plan))
      planner.refuse(plan);
    if (request.placement.kind == PlacementKind::kHost || planner.roomy(plan)) return plan;
  }
  MemoryPlan plan = planner.plan(false);
  if (!planner.feasible(plan)) planner.refuse(plan);
  return plan;
}

}  // namespace zerostream
