// How the memory is divided between pools.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "offload/model_layout.h"
#include "offload/placement.h"
#include "offload/run_statistics.h"
#include "offload/workload.h"

namespace zerostream {

// What the user asked for; 0 or less than 0 (depth) leaves the choice to the plan.
struct MemoryRequest {
  int64_t host_memory = 0;   // most bytes of all pools together, of the device that computes
  bool own_memory = false;   // that device does not share the host's memory
  Placement placement = {};  // of weights
  Placement kv_placement = {};
  // With own_memory: what of keys and values the device's memory does not hold rests in pinned host
  // memory instead of on storage.
  bool kv_on_host = false;
  std::optional<DType> kv_dtype = {};         // absent: the compute dtype
  int64_t kv_slot_bytes = int64_t{16} << 20;  // of one fetch of keys and values
  int32_t prefetch_depth = -1;
  int32_t max_sequences = 0;
  int32_t token_budget = 0;
  int32_t block_tokens = 16;
  int64_t scratch_bytes = 0;  // that the device holds besides
  Workload workload = {};     // what the rows are like, as far as that is known
};

struct MemoryPlan {
  std::vector<bool> resident;  // per segment
  int32_t prefetch_depth = 0;
  int64_t ring_bytes = 0;  // slots of streamed weights
  int32_t max_sequences = 0;
  int32_t token_budget = 0;
  int32_t logit_rows = 0;  // whose logits are there at once
  DType kv_dtype = DType::kF32;
  int64_t kv_blocks = 0;         // that rows can hold together
  int64_t kv_memory_blocks = 0;  // of them, what memory holds; fewer than kv_blocks: the others go
                                 // to storage, or to host memory where kv_on_host
  int64_t kv_least_blocks = 0;   // fewer kv_blocks are of no use
  int64_t kv_block_bytes = 0;    // over all layers
  int64_t kv_ring_bytes = 0;     // slots of blocks that come back
  bool kv_on_host = false;
  // Where the device has memory of its own: of DeviceArrays; of tables of fetched KV blocks.
  int64_t array_bytes = 0, kv_table_bytes = 0;
  std::vector<PoolBytes> pools;
  // Beside a device with memory of its own, see plan_host_memory(); else empty.
  std::vector<bool> on_host;  // per segment: rests in pinned host memory
  // Pinned memory that KV blocks pass through from storage and to it.
  int64_t kv_read_pinned_bytes = 0, kv_write_pinned_bytes = 0;
  std::vector<PoolBytes> host_pools;  // of host memory

  // Some blocks rest on storage, or in host memory where kv_on_host.
  bool kv_overflows() const { return kv_memory_blocks < kv_blocks; }
  int64_t resident_bytes(const ModelLayout& layout) const;
  int64_t host_bytes(const ModelLayout& layout) const;  // of weights that are on_host
};

// Segments that rest in memory when `bytes` are there for them: spread evenly over the depth of the
// model, so that reading never waits for a long run of segments that need none. Embeddings, which
// are read by row, come last.
std::vector<bool> choose_resident(const ModelLayout& layout, int64_t bytes);

// Fetches that run ahead of compute when a plan may choose: enough to keep storage busy.
int32_t automatic_depth(const ModelLayout& layout, const std::vector<bool>& resident,
                        int64_t host_memory);

// A pure function of layout and request. KV memory comes first: for max_sequences rows of the
// workload's mean length, and at least one of its longest; then weights. Throws UsageError when
// more rows than tokens are asked for a pass, and InfeasibleError with the bytes of each pool, what
// is missing, and what would make it fit.
MemoryPlan plan_memory(const ModelLayout& layout, const MemoryRequest& request);

}  // namespace zerostream
