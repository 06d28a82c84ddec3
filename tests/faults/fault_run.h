// One schedule of faults over a whole job.
#pragma once

#include <cstdint>
#include <string>

#include "tests/faults/fault_plan.h"
#include "tests/faults/tiny_job.h"

namespace zerostream {

struct ScheduleResult {
  bool failed = false;  // the run with faults ended in an error
  std::string problem;  // what must not be, with the plan; empty: nothing
};

// Runs the job with the faults of make_fault_plan(seed), then once more without any. The first run
// must end in success or in an I/O error and leave whole lines that an undisturbed run has, too;
// after the second the output must be that of an undisturbed run. A watchdog ends the program if
// either hangs.
ScheduleResult run_schedule(TinyJob& job, uint64_t seed);

}  // namespace zerostream
