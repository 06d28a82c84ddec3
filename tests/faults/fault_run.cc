#include "tests/faults/fault_run.h"

#include "nvme/throttled_engine.h"
#include "tests/faults/watchdog.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr double kPatience = 120;  // seconds; a run takes well under one, more under sanitizers

std::unique_ptr<IoEngine> make_engine(const FaultPlan& plan, int capacity) {
  std::unique_ptr<IoEngine> engine = make_io_engine(plan.shape.engine, capacity, nullptr);
  if (plan.jitter_us > 0)
    engine =
        make_throttled_engine(std::move(engine), {.jitter_us = plan.jitter_us, .seed = plan.seed});
  return make_faulty_engine(std::move(engine), plan.engine);
}

JobEnd run_with_faults(TinyJob& job, const FaultPlan& plan) {
  FileFaults files = plan.files;
  files.folder = job.folder();
  const FaultyFiles faulty(files);
  return job.run(plan.shape, [&](RuntimeOptions& options) {
    options.io_timeout_seconds = plan.timeout_seconds;
    options.make_engine = [&plan, capacity = options.queue_depth] {
      return make_engine(plan, capacity);
    };
  });
}

std::string check(TinyJob& job, const FaultPlan& plan, const JobEnd& end) {
  const bool success = end.code == 0;
  const bool allowed = success || (!plan.harmless && end.code == static_cast<int>(ErrorCode::kIo));
  if (!allowed) return "ended with code " + std::to_string(end.code) + ": " + end.message;
  const std::string problem = success ? job.problem_of_whole() : job.problem_of_part();
  if (!problem.empty()) return "output with faults: " + problem;
  const JobEnd second = job.run(plan.second_shape, {});
  if (second.code != 0)
    return "the second run ended with code " + std::to_string(second.code) + ": " + second.message;
  const std::string rest = job.problem_of_whole();
  return rest.empty() ? "" : "output of the second run: " + rest;
}

}  // namespace

ScheduleResult run_schedule(TinyJob& job, uint64_t seed) {
  const FaultPlan plan = make_fault_plan(seed);
  const Watchdog watchdog(plan.text(), kPatience);
  job.remove_output();
  const JobEnd end = run_with_faults(job, plan);
  const std::string problem = check(job, plan, end);
  return {end.code != 0, problem.empty() ? "" : plan.text() + ": " + problem};
}

}  // namespace zerostream
