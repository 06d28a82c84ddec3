// Spans that overlap, side by side.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/timeline.h"

namespace zerostream {

// Gives each span a lane of its track in which nothing else happens at that time. Spans come nearly
// in the order of their ends; one that comes late may get a lane more than it needs. Beyond
// kMaxLanes spans share the lane that is free first.
class TrackLanes {
 public:
  static constexpr int kMaxLanes = 32;
  TrackLanes();
  int place(const TimelineSpan& span);

 private:
  std::array<std::vector<int64_t>, kTracks> ends_;  // by track and lane
};

}  // namespace zerostream
