#include "offload/run_recorder.h"

namespace zerostream {
namespace {

// Of one pass: a step of each matrix and KV micro-batch, and a fetch for some of them.
constexpr int64_t kMaxSpansPerPass = 16384;

}  // namespace

RunRecorder::RunRecorder(const std::string& trace_path) : timeline_(kMaxSpansPerPass) {
  if (!trace_path.empty())
    trace_.emplace(TraceFileOptions{.path = trace_path, .origin_ns = origin_ns_});
}

RunRecorder::~RunRecorder() {
  try {
    finish();
  } catch (...) {  // the run has ended for another reason, which matters more
  }
}

void RunRecorder::on_pass(const RunStatistics& statistics) {
  history_.add(statistics, static_cast<double>(timeline_now_ns() - origin_ns_) / 1e9);
  const std::span<const TimelineSpan> spans = timeline_.take();
  windows_.add(spans, statistics);
  if (trace_) trace_->write(spans);
}

std::vector<std::string> RunRecorder::finish() {
  if (trace_) trace_->write(timeline_.take());  // after the last pass, or in one that failed
  std::vector<std::string> notes;
  if (timeline_.dropped() > 0)
    notes.push_back("timeline: " + std::to_string(timeline_.dropped()) +
                    " spans of passes with more than " + std::to_string(kMaxSpansPerPass) +
                    " are left out");
  std::string problem = trace_ ? trace_->finish() : std::string();
  if (!problem.empty()) notes.push_back(std::move(problem));
  return notes;
}

}  // namespace zerostream
