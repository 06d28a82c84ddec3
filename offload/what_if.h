// What a change to machine or model would give.
#pragma once

#include <string>
#include <vector>

#include "offload/planner.h"
#include "offload/segment_layout.h"

namespace zerostream {

// What another machine, or another store of the model, would give.
struct WhatIf {
  std::string change;  // "1 GiB more memory"
  double seconds = 0;  // of the job; 0: the run would not fit
  double tokens_per_second = 0;
};

// Each is a plan of its own for one change to what is given: weights packed in the other layout
// (where the profile has rates of both and that is faster), more memory, faster storage, weights
// and keys and values of fewer bits. Changes that would change nothing are left out.
std::vector<WhatIf> what_ifs(const ModelLayout& layout, const StoreFormat& format,
                             const PlanRequest& request, const HardwareProfile& profile,
                             const RunPlan& plan);

}  // namespace zerostream
