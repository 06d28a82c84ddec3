// What this machine can do for a run, and why not.
#pragma once

#include <string>
#include <vector>

#include "model/json.h"

namespace zerostream {

enum class Health : uint8_t {
  kGood,
  kSlower,   // runs work, but slower or smaller than they could
  kMissing,  // not there; what needs it is refused
};

struct Finding {
  std::string name;  // "io_uring", "direct I/O in /data", ...
  Health health = Health::kGood;
  std::string what;    // what was found
  std::string advice;  // what to do about it; empty where nothing is to be done
};

// Looks at I/O engines, direct I/O in each of `folders` (those that exist; a small file is written
// and removed), huge pages, locked memory, memory and cgroup limits, the processor, GPUs, NCCL and
// MPI. Never throws for what it finds. `cuda_module`: as device.module of the run file.
std::vector<Finding> examine_machine(const std::vector<std::string>& folders,
                                     const std::string& cuda_module = "");

// [{"name", "health": "good" | "slower" | "missing", "what", "advice"}, ...]
Json findings_json(const std::vector<Finding>& findings);

}  // namespace zerostream
