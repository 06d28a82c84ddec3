// What is written down about a run while it goes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/timeline.h"
#include "offload/pass_windows.h"
#include "offload/run_history.h"
#include "offload/trace_file.h"

namespace zerostream {

// Collects what happens on the timeline that it lends out and after every pass hands it on: to the
// history and the windows of the report, and to a trace if one is wanted. A trace is finished also
// when the run fails: then by the destructor.
//
// Outlives those who have the timeline. Threads: one, but for the timeline. Errors: the constructor
// throws IoError when the trace cannot be made.
class RunRecorder {
 public:
  explicit RunRecorder(const std::string& trace_path);  // empty: no trace
  ~RunRecorder();
  RunRecorder(const RunRecorder&) = delete;
  RunRecorder& operator=(const RunRecorder&) = delete;

  Timeline* timeline() { return &timeline_; }
  void on_pass(const RunStatistics& statistics);
  // The end. Returns notes for people.
  std::vector<std::string> finish();
  Json history() const { return history_.json(); }
  Json windows() const { return windows_.json(origin_ns_); }

 private:
  const int64_t origin_ns_ = timeline_now_ns();
  Timeline timeline_;
  RunHistory history_;
  PassWindows windows_;
  std::optional<TraceFile> trace_;
};

}  // namespace zerostream
