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

// What of a placement of weights, or of keys and values, concerns the device's own memory, as
// plan_memory() takes it.
Placement device_placement(const Placement& asked);

// What the device's memory does not hold of keys and values goes to host memory, not to storage.
// Throws UsageError where `asked` names both.
bool kv_rests_on_host(const Placement& asked);

// Divides `host_memory`: buffers; keys and values, no more blocks than fit beside weights that must
// be there; then, of the segments that are not resident, those that rest in pinned memory as
// `asked` says. Sets what of the plan is of the host, and plan.kv_blocks. Throws InfeasibleError
// when they do not fit.
void plan_host_memory(const ModelLayout& layout, const Placement& asked, int64_t host_memory,
                      MemoryPlan& plan);

// plan_memory() and, where request.own_memory, plan_host_memory(): how a run divides both. There
// request.placement is what the user asked for.
MemoryPlan plan_run_memory(const ModelLayout& layout, const MemoryRequest& request,
                           int64_t host_memory);

}  // namespace zerostream
