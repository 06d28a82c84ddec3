// The timeline of a few passes.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "base/timeline.h"
#include "model/json.h"
#include "offload/run_statistics.h"

namespace zerostream {

// Keeps all spans of three passes in a row: of the first ones, of the first that only decode, and
// of some from the middle of the run (how long it will be nobody knows: those from pass 4, 8, 16,
// ... on, the latest that came to their end).
//
// Allocates at construction only. Threads: one.
class PassWindows {
 public:
  explicit PassWindows(int32_t max_spans_per_window = 1000);
  // The pass has ended at which the statistics stand, and these spans with it.
  void add(std::span<const TimelineSpan> spans, const RunStatistics& statistics);
  // {"tracks": names, "windows": [{"first_pass" (from 1), "passes", "left_out" (spans for which
  // there was no room), "begin_seconds" since `origin_ns`, "names", "spans"}]}. A span is [track,
  // lane (spans that overlap lie in lanes), begin and duration in microseconds, name]; it may begin
  // before its window.
  Json json(int64_t origin_ns) const;

 private:
  struct Window {
    int64_t first_pass = 0;
    int64_t passes = 0;
    int64_t left_out = 0;
    std::vector<TimelineSpan> spans;
    bool complete() const;
  };
  Window* next_window(int64_t pass, bool decode);
  std::vector<const Window*> kept() const;
  Json window_json(const Window& window, int64_t origin_ns) const;

  const size_t max_spans_;
  Window first_, decode_;
  std::array<Window, 2> middle_;
  size_t middles_ = 0;         // begun
  Window* current_ = nullptr;  // null between windows
  bool decode_seen_ = false;
  int64_t decode_passes_ = 0;
};

}  // namespace zerostream
