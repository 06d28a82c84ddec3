// A trace of a run, for Perfetto and chrome://tracing.
#pragma once

#include <cstdint>
#include <fstream>
#include <set>
#include <span>
#include <string>

#include "base/timeline.h"
#include "offload/track_lanes.h"

namespace zerostream {

struct TraceFileOptions {
  std::string path;
  int64_t origin_ns = 0;        // time 0 of the trace
  int64_t max_spans = 1000000;  // about 100 MB; later ones are counted and left out
};

// Writes spans as JSON trace events: complete events in microseconds, one thread per track, and
// further ones where spans of a track overlap, each with its name. What is written goes to
// PATH.partial; finish() puts it in place of the file. A path that is no regular file (a pipe) is
// written to directly.
//
// Threads: one. Errors: the constructor throws IoError when the file cannot be made. Later ones are
// kept for finish(): a trace never ends the run that it is of.
class TraceFile {
 public:
  explicit TraceFile(TraceFileOptions options);
  ~TraceFile();  // finishes, if nobody has
  TraceFile(const TraceFile&) = delete;
  TraceFile& operator=(const TraceFile&) = delete;

  void write(std::span<const TimelineSpan> spans);
  // Returns what people should know: that spans were left out, or that the trace could not be
  // written; else nothing.
  std::string finish();

 private:
  void write_span(const TimelineSpan& span);
  void name_thread(const TimelineSpan& span, int lane, int thread);

  const TraceFileOptions options_;
  const std::string partial_;
  std::ofstream stream_;
  TrackLanes lanes_;
  std::set<int> named_;  // threads
  int64_t spans_ = 0, left_out_ = 0;
  bool finished_ = false;
};

}  // namespace zerostream
