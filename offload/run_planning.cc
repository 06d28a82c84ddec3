#include "offload/run_planning.h"

#include "offload/planner.h"
#include "offload/probe.h"

namespace zerostream {
namespace {

Json predicted_json(const JobPrediction& job) {
  return {{"total_seconds", job.seconds},
          {"tokens_per_second", job.tokens_per_second()},
          {"decode_tokens_per_second", job.decode_tokens_per_second},
          {"prefill_tokens_per_second", job.prefill_tokens_per_second()},
          {"bound_seconds", job.bound_seconds()},
          {"bound", bound_name(job.busy.bound())}};
}

}  // namespace

std::optional<RunForecast> plan_this_run(const LoadedModel& model, const RunPlanning& planning,
                                         RuntimeOptions& options) {
  fit_options(model.backend, options);
  if (options.plan) return std::nullopt;
  const ModelLayout& layout = model.store.layout();
  PlanRequest request;
  request.host_memory = options.host_memory;
  request.memory = memory_request(options, model.backend.device->scratch_bytes());
  request.int8_activations = planning.int8_activations;
  options.plan = plan_without_rates(layout, request.memory, options.host_memory);
  if (options.plan) return std::nullopt;
  planning.note("measuring this machine, or using what was measured of it before");
  const HardwareProfile profile =
      load_profile_or_measure(planning.cache_folder, model.backend,
                              {.path = model.store.weights_path(),
                               .engine = options.io_engine,
                               .weights = layout.dtype,
                               .int8_activations = planning.int8_activations});
  const RunPlan plan = plan_run(layout, request, profile);
  options.plan = plan.memory;
  return RunForecast{predicted_json(plan.job), profile.storage ? profile.storage->read.median : 0};
}

}  // namespace zerostream
