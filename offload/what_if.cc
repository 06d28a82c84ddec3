#include "offload/what_if.h"

#include "offload/planned_layout.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

WhatIf what_if(const std::string& change, const ModelLayout& layout, const PlanRequest& request,
               const HardwareProfile& profile) {
  try {
    const RunPlan plan = plan_run(layout, request, profile);
    return {change, plan.job.seconds, plan.job.tokens_per_second() * request.ranks};
  } catch (const InfeasibleError&) {
    return {change, 0, 0};
  }
}

HardwareProfile with_storage_times(HardwareProfile profile, double factor) {
  for (Rate* rate : {&profile.storage->read, &profile.storage->write})
    *rate = {rate->median * factor, rate->low * factor, rate->high * factor};
  return profile;
}

}  // namespace

std::vector<WhatIf> what_ifs(const ModelLayout& layout, const StoreFormat& format,
                             const PlanRequest& request, const HardwareProfile& profile,
                             const RunPlan& plan) {
  std::vector<WhatIf> results;
  const bool own_memory = profile.link.has_value();
  PlanRequest more = request;
  (own_memory ? more.host_memory : more.memory.host_memory) += int64_t{1} << 30;
  results.push_back(what_if("1 GiB more host memory", layout, more, profile));
  if (plan.job.busy.storage > 0)
    results.push_back(
        what_if("storage twice as fast", layout, request, with_storage_times(profile, 2)));
  for (const DType dtype : {DType::kI8, DType::kI4}) {
    if (dtype_bits(dtype) >= dtype_bits(format.dtype)) continue;
    StoreFormat quantised = format;
    quantised.dtype = dtype;
    quantised.group_size = kDefaultGroupSize;
    results.push_back(what_if(std::string(dtype_name(dtype)) + " weights",
                              make_layout(layout.config, quantised), request, profile));
  }
  if (plan.memory.kv_dtype != DType::kI8) {
    PlanRequest smaller = request;
    smaller.memory.kv_dtype = DType::kI8;
    results.push_back(what_if("int8 keys and values", layout, smaller, profile));
  }
  return results;
}

}  // namespace zerostream
