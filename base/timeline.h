// What happened when: spans of time on tracks, for traces and reports.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace zerostream {

enum class Track : uint8_t {
  kPass,     // a pass from end to end
  kRead,     // storage to memory: one fetch of a segment
  kCopy,     // host memory to device
  kKvRead,   // KV blocks into memory
  kKvWrite,  // KV blocks to storage
  kCompute,  // the device's compute stream
  kWait,     // the compute stream had nothing to do
};

// Nanoseconds of the steady clock.
int64_t timeline_now_ns();

struct TimelineSpan {
  Track track = Track::kPass;
  int64_t begin_ns = 0;
  int64_t end_ns = 0;
  int32_t pass = 0;    // the pass that was being computed
  char name[44] = {};  // cut where longer
};

// Collects spans in memory that it takes once: nothing is allocated while it collects. When it is
// full, later spans are counted and dropped.
//
// Threads: add() from any; the rest from one, when nothing is being added.
class Timeline {
 public:
  explicit Timeline(int64_t max_spans);
  void set_pass(int32_t pass);
  void add(Track track, std::string_view name, int64_t begin_ns, int64_t end_ns);
  const std::vector<TimelineSpan>& spans() const { return spans_; }
  int64_t dropped() const { return dropped_; }

 private:
  std::mutex mutex_;
  std::vector<TimelineSpan> spans_;
  int64_t max_spans_;
  int64_t dropped_ = 0;
  int32_t pass_ = 0;
};

}  // namespace zerostream
