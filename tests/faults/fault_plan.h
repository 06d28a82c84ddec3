// What goes wrong in a run, drawn from a seed.
#pragma once

#include <cstdint>
#include <string>

#include "nvme/faulty_engine.h"
#include "tests/faults/fault_files.h"
#include "tests/faults/tiny_job.h"

namespace zerostream {

struct FaultPlan {
  uint64_t seed = 0;
  JobShape shape;         // of the run with faults
  JobShape second_shape;  // of the run that goes on without
  FaultOptions engine;
  int64_t jitter_us = 0;  // each completion of the engine is late by up to this
  FileFaults files;       // without its folder
  double timeout_seconds = 120;
  bool harmless = false;  // the run must succeed all the same

  std::string text() const;
};

FaultPlan make_fault_plan(uint64_t seed);

}  // namespace zerostream
