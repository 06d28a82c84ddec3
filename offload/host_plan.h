// What rests in host memory beside a device that has memory of its own.
#pragma once

#include <algorithm>
#include <cstdint>

#include "offload/memory_plan.h"

namespace zerostream {

// Pinned memory that reads on their way to such a device pass through, at most; no more than its
// slots.
inline constexpr int64_t kStagingBytes = int64_t{64} << 20;
constexpr int64_t staging_bytes(int64_t ring_bytes) {
  return std::clamp(ring_bytes, kTileBytes, kStagingBytes);
}

// What of a placement of weights concerns the device's own memory, as plan_memory() takes it.
Placement device_placement(const Placement& asked);

// Chooses, of the segments that are not resident, those that rest in pinned host memory, as `asked`
// says and `host_memory` allows beside the pools that plan.host_pools has already: sets
// plan.on_host and adds pools. Throws InfeasibleError when they do not fit.
void plan_host_memory(const ModelLayout& layout, const Placement& asked, int64_t host_memory,
                      MemoryPlan& plan);

// plan_memory() and, where request.own_memory, plan_host_memory(): how a run divides both. There
// request.placement is what the user asked for.
MemoryPlan plan_run_memory(const ModelLayout& layout, const MemoryRequest& request,
                           int64_t host_memory);

}  // namespace zerostream
