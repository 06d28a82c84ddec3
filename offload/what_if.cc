#include "offload/what_if.h"

#include <optional>

#include "offload/planned_layout.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;
constexpr double kClearly = 1.03;  // predictions are no more exact than this

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

// The same weights in the other layout, where the profile knows both and that is clearly faster.
std::optional<WhatIf> packed_otherwise(const ModelLayout& layout, const StoreFormat& format,
                                       const PlanRequest& request, const HardwareProfile& profile,
                                       const RunPlan& plan) {
  const bool rows = format.layout == WeightLayout::kTile64;
  StoreFormat other = format;
  other.layout = rows ? WeightLayout::kRows : WeightLayout::kTile64;
  if (!profile.knows(format.dtype, format.layout) || !profile.knows(format.dtype, other.layout))
    return std::nullopt;
  WhatIf changed = what_if(rows ? "pack --layout rows" : "pack --layout tile64",
                           make_layout(layout.config, other), request, profile);
  const double now = plan.job.tokens_per_second() * request.ranks;
  return changed.tokens_per_second > kClearly * now ? std::optional(std::move(changed))
                                                    : std::nullopt;
}

}  // namespace

std::vector<WhatIf> what_ifs(const ModelLayout& layout, const StoreFormat& format,
                             const PlanRequest& request, const HardwareProfile& profile,
                             const RunPlan& plan) {
  std::vector<WhatIf> results;
  const bool own_memory = profile.link.has_value();
  if (const auto packed = packed_otherwise(layout, format, request, profile, plan))
    results.push_back(*packed);
  for (const bool device : {false, true}) {
    if (device && !own_memory) continue;
    PlanRequest more = request;
    (own_memory && !device ? more.host_memory : more.memory.host_memory) += kGiB;
    results.push_back(what_if(device ? "1 GiB more device memory" : "1 GiB more host memory",
                              layout, more, profile));
  }
  if (plan.job.busy.storage > 0)
    results.push_back(
        what_if("storage twice as fast", layout, request, with_storage_times(profile, 2)));
  for (const DType dtype : {DType::kI8, DType::kI4}) {
    if (dtype_bits(dtype) >= dtype_bits(format.dtype)) continue;
    StoreFormat quantised = format;
    quantised.dtype = dtype;
    quantised.group_size = kDefaultGroupSize;
    quantised.layout = WeightLayout::kTile64;
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
