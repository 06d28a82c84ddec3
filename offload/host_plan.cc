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

// Buffers that keys and values pass through, and their tables.
void add_kv_buffers(const ModelLayout& layout, MemoryPlan& plan) {
  plan.kv_read_pinned_bytes = plan.kv_on_host ? kTileBytes : staging_bytes(plan.kv_ring_bytes);
  const int64_t block = plan.kv_block_bytes / layout.config.num_hidden_layers;
  if (!plan.kv_on_host)
    plan.kv_write_pinned_bytes = std::min(std::max(block, kStagingBytes), 2 * plan.kv_block_bytes);
  plan.host_pools.push_back(
      {"kv staging", plan.kv_read_pinned_bytes + plan.kv_write_pinned_bytes + plan.kv_table_bytes});
}

[[noreturn]] void refuse(int64_t host_memory, int64_t missing, int64_t wanted, const char* what,
                         const char* advice) {
  throw InfeasibleError("host memory of " + format_bytes(host_memory) + " lacks " +
                        format_bytes(missing) + " for " + format_bytes(wanted) + " of " + what +
                        ". Raise host.memory, or " + advice);
}

// Of pinned memory for as many blocks as there is room for; returns their bytes.
int64_t place_kv(int64_t host_memory, int64_t room, MemoryPlan& plan) {
  const int64_t least = std::min(plan.kv_least_blocks, plan.kv_blocks) * plan.kv_block_bytes;
  if (least > room)
    refuse(host_memory, least - room, least, "keys and values beside buffers and weights",
           "lower batch.max_sequences, or set kv_cache.placement: nvme");
  plan.kv_blocks = std::min(plan.kv_blocks, room / plan.kv_block_bytes);
  const int64_t bytes = plan.kv_blocks * plan.kv_block_bytes;
  plan.host_pools.push_back({"kv cache", bytes});
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

bool kv_rests_on_host(const Placement& asked) {
  if (asked.kind == PlacementKind::kHost) return !asked.device;
  if (asked.kind != PlacementKind::kShares || !asked.host) return false;
  if (asked.nvme)
    throw UsageError(
        "kv_cache.placement: what a cuda device does not hold of keys and values rests in host "
        "memory or on nvme, not in both");
  return true;
}

void plan_host_memory(const ModelLayout& layout, const Placement& asked, int64_t host_memory,
                      MemoryPlan& plan) {
  plan.on_host.assign(plan.resident.size(), false);
  if (std::find(plan.resident.begin(), plan.resident.end(), false) != plan.resident.end()) {
    plan.host_pools.push_back({"staging", staging_bytes(plan.ring_bytes)});
    plan.host_pools.push_back({"embedding rows", embedding_row_bytes(layout, plan)});
  }
  if (plan.kv_overflows()) add_kv_buffers(layout, plan);
  int64_t room = host_memory;
  for (const PoolBytes& pool : plan.host_pools) room -= pool.bytes;
  const ModelLayout rest = without_resident(layout, plan.resident);
  if (plan.kv_overflows() && plan.kv_on_host) {
    const bool free_choice = asked.kind == PlacementKind::kAuto;
    const int64_t weights = free_choice ? 0 : host_bytes_wanted(layout, rest, asked, room);
    room -= place_kv(host_memory, room - weights, plan);
  }
  const int64_t wanted = host_bytes_wanted(layout, rest, asked, room);
  if (wanted > room || room < 0)
    refuse(host_memory, wanted - std::min<int64_t>(room, wanted), wanted,
           "weights beside buffers, keys and values", "set weights.placement: nvme");
  const std::vector<bool> chosen = choose_resident(rest, wanted);
  int64_t bytes = 0;
  for (size_t i = 0, next = 0; i < plan.resident.size(); ++i) {
    if (plan.resident[i] || !chosen[next++]) continue;
    plan.on_host[i] = true;
    bytes += layout.segments[i].bytes;
  }
  if (!rest.segments.empty()) plan.host_pools.push_back({"weights", bytes});
}

MemoryPlan plan_run_memory(const ModelLayout& layout, const MemoryRequest& request,
                           int64_t host_memory) {
  if (!request.own_memory) return plan_memory(layout, request);
  MemoryRequest device = request;
  device.placement = device_placement(request.placement);
  device.kv_placement = device_placement(request.kv_placement);
  device.kv_on_host = kv_rests_on_host(request.kv_placement);
  MemoryPlan plan = plan_memory(layout, device);
  plan_host_memory(layout, request.placement, host_memory, plan);
  return plan;
}

}  // namespace zerostream
