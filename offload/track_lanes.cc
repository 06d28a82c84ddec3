#include "offload/track_lanes.h"

#include <algorithm>

namespace zerostream {

TrackLanes::TrackLanes() {
  for (std::vector<int64_t>& ends : ends_) ends.reserve(kMaxLanes);
}

int TrackLanes::place(const TimelineSpan& span) {
  std::vector<int64_t>& ends = ends_[static_cast<size_t>(span.track)];
  auto lane = std::find_if(ends.begin(), ends.end(),
                           [&](int64_t end_ns) { return end_ns <= span.begin_ns; });
  if (lane == ends.end())
    lane =
        ends.size() < kMaxLanes ? ends.insert(lane, 0) : std::min_element(ends.begin(), ends.end());
  *lane = std::max(*lane, span.end_ns);
  return static_cast<int>(lane - ends.begin());
}

}  // namespace zerostream
