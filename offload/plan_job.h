// The plan of the run that a run file describes, from the file to the figures.
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "offload/planned_layout.h"
#include "offload/planner.h"
#include "offload/run_config.h"
#include "offload/what_if.h"

namespace zerostream {

struct EqualRows {
  int64_t rows = 0;  // 0: without end
  int64_t prompt_tokens = 0;
  int64_t new_tokens = 0;  // 0: as the run file says
};

struct PlanOptions {
  std::string hardware;           // profile to plan for; empty: this machine, measured quickly
  std::string cache_folder;       // where measurements of this machine are kept
  std::optional<EqualRows> rows;  // instead of those of job.input
  bool what_ifs = true;
  std::function<void(const std::string& line)> note;  // lines for people
};

struct PlannedJob {
  PlannedModel model;
  HardwareProfile hardware;
  PlanRequest request;
  RunPlan plan;
  std::vector<WhatIf> what_ifs;
};

// Reads the model's headers (no weights) and, unless options.rows are given, those of job.input
// where there are any; a run file without rows is planned for rows without end. Memory
// that the file leaves to `auto` is what this machine can give now, or with a profile 95 % of what
// the profile has. Throws UsageError, CheckpointError, IoError and InfeasibleError.
PlannedJob plan_job(const RunConfig& config, const PlanOptions& options,
                    const std::atomic<bool>& stop);

}  // namespace zerostream
