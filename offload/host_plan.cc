#include "offload/host_plan.h"

#include <algorithm>

#include "base/bytes.h"
#include "offload/embedding_reader.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

// The segments that are not resident, as a layout of their own would have them.
ModelLayout without_resident(const ModelLayout& layout, const std::vector<bool>& resident) {
  ModelLayout rest;
  rest.config = layout.config;
  for (size_t i = 0; i < resident.size(); ++i)
    if (!resident[i]) rest.segments.push_back(layout.segments[i]);
  return rest;
}

// Bytes of all that is not resident that should be in host memory.
int64_t host_bytes_wanted(const ModelLayout& layout, const ModelLayout& rest,
                          const Placement& asked, int64_t room) {
  const int64_t all = rest.weights_bytes();
  switch (asked.kind) {
    case PlacementKind::kAuto:
      return std::clamp<int64_t>(room, 0, all);
    case PlacementKind::kHost:
      return all;
    case PlacementKind::kNvme:
      return 0;
    case PlacementKind::kShares:
      break;
  }
  if (!asked.host) return 0;
  const Placement host{.kind = PlacementKind::kShares, .host = asked.host, .nvme = Share{}};
  if (asked.host->kind == Share::Kind::kRest) return all;
  return std::min(all, *host.memory_bytes(layout.weights_bytes(), "weights.placement"));
}

int64_t embedding_row_bytes(const ModelLayout& layout, const MemoryPlan& plan) {
  int64_t bytes = 0;
  for (const MatrixRole role : {MatrixRole::kTokenEmbedding, MatrixRole::kPositionEmbedding})
    bytes += EmbeddingReader::staging_bytes(role, layout, plan.resident, plan.token_budget);
  return bytes;
}

}  // namespace

Placement device_placement(const Placement& asked) {
  if (asked.kind == PlacementKind::kAuto) return asked;
  if (asked.kind == PlacementKind::kHost)
    return {.kind = asked.device ? PlacementKind::kHost : PlacementKind::kNvme};
  if (!asked.device) return {.kind = PlacementKind::kNvme};
  if (asked.device->kind == Share::Kind::kRest) return {};
  return {.kind = PlacementKind::kShares, .host = asked.device, .nvme = Share{}};
}

void plan_host_memory(const ModelLayout& layout, const Placement& asked, int64_t host_memory,
                      MemoryPlan& plan) {
  plan.on_host.assign(plan.resident.size(), false);
  if (std::find(plan.resident.begin(), plan.resident.end(), false) == plan.resident.end()) return;
  plan.host_pools.push_back({"staging", staging_bytes(plan.ring_bytes)});
  plan.host_pools.push_back({"embedding rows", embedding_row_bytes(layout, plan)});
  int64_t room = host_memory;
  for (const PoolBytes& pool : plan.host_pools) room -= pool.bytes;
  const ModelLayout rest = without_resident(layout, plan.resident);
  const int64_t wanted = host_bytes_wanted(layout, rest, asked, room);
  if (wanted > room || room < 0)
    throw InfeasibleError("host memory of " + format_bytes(host_memory) + " lacks " +
                          format_bytes(wanted - std::min<int64_t>(room, wanted)) + " for " +
                          format_bytes(wanted) +
                          " of weights beside buffers, keys and values. Raise host.memory, or "
                          "set weights.placement: nvme");
  const std::vector<bool> chosen = choose_resident(rest, wanted);
  int64_t bytes = 0;
  for (size_t i = 0, next = 0; i < plan.resident.size(); ++i) {
    if (plan.resident[i] || !chosen[next++]) continue;
    plan.on_host[i] = true;
    bytes += layout.segments[i].bytes;
  }
  plan.host_pools.push_back({"weights", bytes});
}

MemoryPlan plan_run_memory(const ModelLayout& layout, const MemoryRequest& request,
                           int64_t host_memory) {
  if (!request.own_memory) return plan_memory(layout, request);
  MemoryRequest device = request;
  device.placement = device_placement(request.placement);
  MemoryPlan plan = plan_memory(layout, device);
  plan_host_memory(layout, request.placement, host_memory, plan);
  return plan;
}

}  // namespace zerostream
