// A run on a virtual clock: the same steps as on devices, with the rates of a hardware profile.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "offload/cost_model.h"
#include "offload/resource_seconds.h"
#include "offload/schedule.h"

namespace zerostream {

enum class Tier : uint8_t { kDevice, kHost, kNvme };

// How a model runs, as a plan says it.
struct SimulatedRun {
  std::vector<Tier> weights;  // per segment; never kHost where the device shares the host's memory
  int32_t prefetch_depth = 0;
  Tier kv = Tier::kDevice;    // where keys and values rest that the device has no room for
  double kv_share = 0;        // share of all keys and values that rest there
  int64_t kv_ring_bytes = 0;  // device memory through which these pass
  CostOptions costs;
};

struct PassPrediction {
  double seconds = 0;
  ResourceSeconds busy;
  // Of `seconds`: the compute stream had nothing to do because weights, or keys and values, were
  // not there yet.
  double weights_stall_seconds = 0, kv_stall_seconds = 0;
};

// What happened to one fetch of weights, in seconds from the start of the first pass.
struct SimulatedFetch {
  int32_t segment = 0;
  int64_t slot_begin = 0, slot_end = 0;  // bytes in the ring
  double submitted = 0, begun = 0, ready = 0;
  double first_use = 0, last_use_end = 0;  // of its readers on the compute stream
  double stall_seconds = 0;                // that its first reader was counted to have waited
  bool used = false;
};

// Runs the steps of make_schedule() on a virtual clock, as LayerScheduler and Prefetcher do on a
// device: the host goes through the steps, enqueues arithmetic on a stream that works in order, and
// waits only for fetches and for the end of the pass. A fetch starts when its slot is free: at most
// depth + 1 segments have one, and all of them fit the ring. Storage, link and peer link serve
// fetches in order, one at a time; the stages of one fetch overlap piece by piece. What rests in
// host memory needs the link only. Keys and values on another tier come by micro-batches, and what
// a pass adds to them is written behind.
//
// Threads: one. layout and profile must outlive it. Throws UsageError when the run needs storage or
// a link that the profile lacks.
class Simulator {
 public:
  Simulator(const ModelLayout& layout, const HardwareProfile& profile, SimulatedRun run);

  // A pass among passes like it: several are run, until they take equally long.
  PassPrediction pass(const PassShape& shape) const;
  // Runs the prologue and all `passes`, one after the other: what became of each fetch of weights,
  // in order of submission.
  std::vector<SimulatedFetch> fetches(std::span<const PassShape> passes) const;

  const CostModel& costs() const { return costs_; }
  const SimulatedRun& run() const { return run_; }
  const ModelLayout& layout() const { return layout_; }
  // Of weights, by every pass.
  int64_t streamed_bytes() const { return schedules_.at(0).streamed_bytes; }
  int64_t ring_bytes() const { return schedules_.at(0).ring_bytes; }
  // Parts that keys and values of a pass are cut into, so that each fits a slot of the KV ring; 0:
  // all rest on the device.
  int32_t kv_micro_batches(const PassShape& shape) const;

 private:
  Schedule make(int32_t kv_micro_batches) const;
  const Schedule& schedule_for(const PassShape& shape) const;

  const ModelLayout& layout_;
  const SimulatedRun run_;
  const CostModel costs_;
  mutable std::map<int32_t, Schedule> schedules_;  // by KV micro-batches
};

}  // namespace zerostream
