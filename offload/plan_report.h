// A plan, for scripts and for people.
#pragma once

#include <string>

#include "model/json.h"
#include "offload/plan_job.h"

namespace zerostream {

// Bytes are integers, times seconds, rates per second. Tokens per second are those of all ranks.
Json plan_json(const PlannedJob& job);

// What plan_json() says, as lines: where bytes go, what to expect, what would change it.
std::string plan_text(const Json& plan);
// Likewise, about the passes: how long, who is busy, who waits.
std::string simulation_text(const Json& plan);

}  // namespace zerostream
