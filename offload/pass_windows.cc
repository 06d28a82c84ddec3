#include "offload/pass_windows.h"

#include <bit>
#include <cmath>
#include <map>

#include "offload/track_lanes.h"

namespace zerostream {
namespace {

constexpr int64_t kPassesPerWindow = 3;
constexpr int64_t kFirstMiddle = 4;

// To a tenth: enough to draw, and short.
double microseconds(int64_t ns) { return std::round(static_cast<double>(ns) / 100) / 10; }

int64_t window_begin(const std::vector<TimelineSpan>& spans) {
  for (const TimelineSpan& span : spans)
    if (span.track == Track::kPass) return span.begin_ns;
  return spans.empty() ? 0 : spans.front().begin_ns;
}

}  // namespace

bool PassWindows::Window::complete() const { return passes == kPassesPerWindow; }

PassWindows::PassWindows(int32_t max_spans_per_window)
    : max_spans_(static_cast<size_t>(max_spans_per_window)) {
  for (Window* window : {&first_, &decode_, &middle_[0], &middle_[1]})
    window->spans.reserve(max_spans_);
}

void PassWindows::add(std::span<const TimelineSpan> spans, const RunStatistics& statistics) {
  const int64_t pass = statistics.prefill_passes + statistics.decode_passes;
  const bool decode = statistics.decode_passes > decode_passes_;
  decode_passes_ = statistics.decode_passes;
  if (current_ == nullptr) {
    current_ = next_window(pass, decode);
    if (current_ != nullptr) {
      current_->first_pass = pass;
      current_->passes = current_->left_out = 0;
      current_->spans.clear();
    }
  }
  decode_seen_ |= decode;
  if (current_ == nullptr) return;
  const size_t room = std::min(spans.size(), max_spans_ - current_->spans.size());
  current_->spans.insert(current_->spans.end(), spans.begin(), spans.begin() + room);
  current_->left_out += static_cast<int64_t>(spans.size() - room);
  ++current_->passes;
  if (current_->complete()) current_ = nullptr;
}

// The window that begins at this pass, if any does.
PassWindows::Window* PassWindows::next_window(int64_t pass, bool decode) {
  if (first_.passes == 0) return &first_;
  if (decode && !decode_seen_) return &decode_;
  const bool middle = pass >= kFirstMiddle && std::has_single_bit(static_cast<uint64_t>(pass));
  return middle ? &middle_[middles_++ % middle_.size()] : nullptr;
}

std::vector<const PassWindows::Window*> PassWindows::kept() const {
  std::vector<const Window*> windows;
  if (first_.passes > 0) windows.push_back(&first_);
  if (decode_.passes > 0) windows.push_back(&decode_);
  if (middles_ == 0) return windows;
  const Window& latest = middle_[(middles_ - 1) % 2];
  const bool whole = latest.complete() || middles_ == 1;
  windows.push_back(whole ? &latest : &middle_[middles_ % 2]);
  return windows;
}

Json PassWindows::json(int64_t origin_ns) const {
  Json tracks = Json::array(), windows = Json::array();
  for (int i = 0; i < kTracks; ++i) tracks.push_back(track_name(static_cast<Track>(i)));
  for (const Window* window : kept()) windows.push_back(window_json(*window, origin_ns));
  return {{"tracks", std::move(tracks)}, {"windows", std::move(windows)}};
}

Json PassWindows::window_json(const Window& window, int64_t origin_ns) const {
  const int64_t begin_ns = window_begin(window.spans);
  Json names = Json::array(), spans = Json::array();
  std::map<std::string, size_t> known;
  TrackLanes lanes;
  for (const TimelineSpan& span : window.spans) {
    const auto [name, is_new] = known.emplace(span.name, names.size());
    if (is_new) names.push_back(name->first);
    spans.push_back({static_cast<int>(span.track), lanes.place(span),
                     microseconds(span.begin_ns - begin_ns),
                     microseconds(span.end_ns - span.begin_ns), name->second});
  }
  return {{"first_pass", window.first_pass},
          {"passes", window.passes},
          {"left_out", window.left_out},
          {"begin_seconds", static_cast<double>(begin_ns - origin_ns) / 1e9},
          {"names", std::move(names)},
          {"spans", std::move(spans)}};
}

}  // namespace zerostream
