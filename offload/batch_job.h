// A job: every row of an input file answered in an output file.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "offload/generator.h"
#include "offload/job_state.h"
#include "offload/result_writer.h"
#include "offload/rows.h"
#include "offload/run_config.h"

namespace zerostream {

// How far a job is.
struct JobProgress {
  int64_t rows_done = 0;              // written by this run
  int64_t rows_kept = 0;              // of earlier runs
  std::optional<int64_t> rows_total;  // unknown for stdin
  RunStatistics statistics;
  Purpose purpose = Purpose::kGenerate;
};

// How a job talks to the program around it. Calls come from the thread that runs the job, notes
// before and after passes, progress between passes.
struct JobEvents {
  std::function<void(const std::string& line)> note = [](const std::string&) {};
  std::function<void(const std::string& line)> warn = [](const std::string&) {};
  std::function<void(int64_t done, int64_t total)> packing = [](int64_t, int64_t) {};
  std::function<void(const JobProgress&)> progress = [](const JobProgress&) {};
  // Last word on how the model runs, before memory is planned (tests: engines that fail).
  std::function<void(RuntimeOptions&)> adjust = [](RuntimeOptions&) {};
};

struct JobResult {
  int64_t rows_ok = 0, rows_failed = 0;  // of this run; failed rows are redone by the next
  bool stopped = false;                  // by `stop`; what is written is valid
  Json report;
};

// Runs the job that the config describes: takes over the output of an earlier run, loads the model
// (packing it into `cache_folder` where needed), answers or scores the rows, writes the report and
// the trace if they are wanted. The report of a scoring job has the totals of its whole output,
// rows of earlier runs included ("score"). Returns soon after `stop` becomes true. Throws Error;
// rows written before stay valid.
JobResult run_batch_job(const RunConfig& config, Purpose purpose, const std::string& cache_folder,
                        const JobEvents& events, const std::atomic<bool>& stop);

// What makes tokens in a job: Generator, or a stand-in in tests.
struct TokenSource {
  std::function<void(const GenerationClient&, const std::atomic<bool>& stop)> run;
};

// The rows' way through a job, from the input to the sink.
struct RowJob {
  std::string input;
  RowContext context;
  std::function<bool(const RowIdentity&)> done;  // rows that need no work
  LineSink sink;
  std::function<void(int64_t rows_done, const RunStatistics&)> on_pass;
};

struct RowCounts {
  int64_t ok = 0, failed = 0;
};

// Answers the rows of `job` with `tokens`, until the end of the input or until `stop`. Part of
// run_batch_job(). Throws the first error of input, tokens or sink; what was finished before is
// with the sink.
RowCounts run_rows(const RowJob& job, const TokenSource& tokens, const std::atomic<bool>& stop);

}  // namespace zerostream
