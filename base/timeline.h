// What happened when: spans of time on tracks, for traces and reports.
#pragma once

#include <cstdint>
#include <mutex>
#include <span>
#include <string_view>
#include <vector>

namespace zerostream {

// In the order in which people look at them.
enum class Track : uint8_t {
  kPass,     // a pass from end to end
  kCompute,  // the device's compute stream
  kWait,     // the compute stream had nothing to do
  kRead,     // storage to memory: one fetch of a segment
  kCopy,     // host memory to device
  kKvRead,   // KV blocks into memory
  kKvWrite,  // KV blocks to storage
};
inline constexpr int kTracks = 7;

// For people: "pass", "compute", "KV read", ...
std::string_view track_name(Track track);

// Nanoseconds of the steady clock.
int64_t timeline_now_ns();

struct TimelineSpan {
  int64_t begin_ns = 0;
  int64_t end_ns = 0;
  Track track = Track::kPass;
  char name[47] = {};  // ends with 0; cut where longer
};

// Collects spans in memory that it takes once: nothing is allocated while it collects. When it is
// full, later spans are counted and dropped until somebody takes what is there.
//
// Those who measure hold a Timeline*, null where nobody wants to know: then they do not even look
// at the clock.
//
// Threads: add() from any, also from a stream's host task; take() from one, at any time.
class Timeline {
 public:
  explicit Timeline(int64_t max_spans);
  void add(Track track, std::string_view name, int64_t begin_ns, int64_t end_ns);
  // What was added since the last call, nearly in the order of their ends. Valid until the next
  // call.
  std::span<const TimelineSpan> take();
  int64_t dropped() const;

 private:
  const size_t max_spans_;
  mutable std::mutex mutex_;
  std::vector<TimelineSpan> adding_;  // protected by mutex_
  int64_t dropped_ = 0;               // protected by mutex_
  std::vector<TimelineSpan> taken_;   // of who takes
};

}  // namespace zerostream
