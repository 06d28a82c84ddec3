#include "base/timeline.h"

#include <algorithm>
#include <chrono>

namespace zerostream {

std::string_view track_name(Track track) {
  constexpr std::string_view kNames[kTracks] = {"pass", "compute", "wait",    "read",
                                                "copy", "KV read", "KV write"};
  return kNames[static_cast<size_t>(track)];
}

int64_t timeline_now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

Timeline::Timeline(int64_t max_spans) : max_spans_(static_cast<size_t>(max_spans)) {
  adding_.reserve(max_spans_);
  taken_.reserve(max_spans_);
}

void Timeline::add(Track track, std::string_view name, int64_t begin_ns, int64_t end_ns) {
  TimelineSpan span{.begin_ns = begin_ns, .end_ns = std::max(begin_ns, end_ns), .track = track};
  name.copy(span.name, sizeof span.name - 1);
  std::lock_guard lock(mutex_);
  if (adding_.size() < max_spans_)
    adding_.push_back(span);
  else
    ++dropped_;
}

std::span<const TimelineSpan> Timeline::take() {
  taken_.clear();
  std::lock_guard lock(mutex_);
  adding_.swap(taken_);
  return taken_;
}

int64_t Timeline::dropped() const {
  std::lock_guard lock(mutex_);
  return dropped_;
}

}  // namespace zerostream
