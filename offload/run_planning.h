// What a job leaves to the engine, decided just before it begins.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "model/json.h"
#include "offload/hardware_profile.h"
#include "offload/loaded_model.h"
#include "offload/model_runtime.h"

namespace zerostream {

struct RunPlanning {
  std::string cache_folder;  // where measurements of this machine are kept
  bool int8_activations = false;
  std::function<void(const std::string& line)> note;  // lines for people
};

// What the rates of this machine say of a run.
struct RunForecast {
  Json predicted;        // of the job, for the report
  double read_rate = 0;  // bytes/s that storage gives; 0: not known
};

// Makes the options those of a run on the model's backend, and sets options.plan for
// options.workload, unless it is set. Where all weights and rows fit the device's memory, that is
// plan_without_rates()'s; else rates of this machine, measured in a second or two or kept from
// earlier, decide (planner.h), and say what to expect; else nothing is said. Throws
// InfeasibleError, IoError and the device's errors.
std::optional<RunForecast> plan_this_run(const LoadedModel& model, const RunPlanning& planning,
                                         RuntimeOptions& options);

}  // namespace zerostream
