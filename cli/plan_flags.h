// The flags that `plan` and `simulate` share.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "offload/plan_job.h"

namespace zerostream {

struct PlanFlags {
  std::string config;
  std::vector<std::string> sets;
  std::string hardware;
  int64_t rows = 0, prompt_tokens = 0, new_tokens = 0;
  bool json = false;
};

// Adds them to the command; `flags` must live as long as it.
void add_plan_flags(CLI::App& command, PlanFlags& flags);

PlannedJob plan_as_asked(const PlanFlags& flags, bool what_ifs);

}  // namespace zerostream
