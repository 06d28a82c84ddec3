// How the host memory is divided between pools.
#pragma once

#include <cstdint>
#include <vector>

#include "offload/packed_store.h"
#include "offload/placement.h"
#include "offload/run_statistics.h"

namespace zerostream {

// What the user asked for; 0 or less than 0 (depth) leaves the choice to the plan.
struct MemoryRequest {
  int64_t host_memory = 0;  // most bytes of all pools together
  Placement placement;
  int32_t prefetch_depth = -1;
  int32_t max_sequences = 0;
  int32_t token_budget = 0;
  int32_t block_tokens = 16;
};

struct MemoryPlan {
  std::vector<bool> resident;  // per segment
  int32_t prefetch_depth = 0;
  int64_t ring_bytes = 0;
  int32_t max_sequences = 0;
  int32_t token_budget = 0;
  int64_t kv_blocks = 0;
  std::vector<PoolBytes> pools;
};

// A pure function of the store's layout and the request. Throws UsageError when more rows than
// tokens are asked for a pass, and InfeasibleError with the bytes of each pool, what is missing,
// and what would make it fit.
MemoryPlan plan_memory(const PackedStore& store, const MemoryRequest& request);

}  // namespace zerostream
