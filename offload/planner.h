// Decides how a run uses a machine: by trying, on a virtual clock.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "offload/job_simulation.h"
#include "offload/memory_plan.h"

namespace zerostream {

// What the user asked for, and what is left to the plan.
struct PlanRequest {
  MemoryRequest memory;     // of the device that computes, its workload included
  int64_t host_memory = 0;  // DRAM beside a device that has memory of its own; else unused
  int32_t ranks = 1;        // each with a device of its own and its part of the workload's rows
  bool int8_activations = false;
};

struct RunPlan {
  MemoryPlan memory;
  SimulatedRun run;
  SimulatedWave wave;
  JobPrediction job;  // of one rank
};

// The memory of a run that needs no rates to be planned: all weights fit memory, and beside them
// the workload's rows, or as many as are of use where nothing streams. Absent where they do not.
std::optional<MemoryPlan> plan_without_rates(const ModelLayout& layout,
                                             const MemoryRequest& request, int64_t host_memory);

// As plan_without_rates() where that has a plan. Else chooses what the request leaves open (rows
// and tokens of a pass, what of weights, keys and values rests where) so that the workload takes
// least time on the machine of the profile. Tries plans of plan_memory(), coarse and then fine, by
// their passes, and the best of them by the whole job. A pure function, in well under a second.
// Throws UsageError, and InfeasibleError that says what is missing and what would make it fit.
RunPlan plan_run(const ModelLayout& layout, const PlanRequest& request,
                 const HardwareProfile& profile);

}  // namespace zerostream
