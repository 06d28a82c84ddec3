#include "offload/schedule.h"

#include <algorithm>

#include "base/require.h"

namespace zerostream {
namespace {

// Segments that every pass fetches, in order.
std::vector<int32_t> streamed_segments(std::span<const Segment> segments,
                                       const std::vector<bool>& resident) {
  std::vector<int32_t> streamed;
  for (size_t i = 0; i < segments.size(); ++i)
    if (!resident[i] && !is_embedding(segments[i])) streamed.push_back(static_cast<int32_t>(i));
  return streamed;
}

// Most bytes that depth + 1 consecutive fetches hold, and room for one that does not fit before the
// ring's end.
int64_t slot_bytes(std::span<const Segment> segments, const std::vector<int32_t>& streamed,
                   int depth) {
  int64_t most = 0, largest = 0;
  for (size_t first = 0; first < streamed.size(); ++first) {
    int64_t held = 0;
    for (int ahead = 0; ahead <= depth; ++ahead)
      held += segments[streamed[(first + ahead) % streamed.size()]].bytes;
    most = std::max(most, held);
    largest = std::max(largest, segments[streamed[first]].bytes);
  }
  return depth == 0 ? most : most + largest;
}

}  // namespace

bool is_embedding(const Segment& segment) {
  return !segment.matrices.empty() &&
         (segment.matrices.front().role == MatrixRole::kTokenEmbedding ||
          segment.matrices.front().role == MatrixRole::kPositionEmbedding);
}

Schedule make_schedule(std::span<const Segment> segments, const std::vector<bool>& resident,
                       int prefetch_depth) {
  require(resident.size() == segments.size(), "every segment is resident or not");
  require(prefetch_depth >= 0, "prefetch depth is not negative");
  const std::vector<int32_t> streamed = streamed_segments(segments, resident);
  Schedule schedule;
  schedule.ring_bytes = slot_bytes(segments, streamed, prefetch_depth);
  const auto fetch = [&](size_t position) {
    return Step{StepKind::kFetch, streamed[position % streamed.size()], 0};
  };
  if (!streamed.empty())
    for (int ahead = 0; ahead < prefetch_depth; ++ahead) schedule.prologue.push_back(fetch(ahead));

  schedule.pass.push_back({StepKind::kEmbed, 0, 0});
  size_t position = 0;
  for (size_t i = 0; i < segments.size(); ++i) {
    if (is_embedding(segments[i])) continue;
    if (!resident[i]) schedule.pass.push_back(fetch(position + prefetch_depth));
    for (size_t m = 0; m < segments[i].matrices.size(); ++m)
      schedule.pass.push_back({StepKind::kApply, static_cast<int32_t>(i), static_cast<int32_t>(m)});
    if (resident[i]) continue;
    schedule.pass.push_back({StepKind::kRelease, static_cast<int32_t>(i), 0});
    schedule.streamed_bytes += segments[i].bytes;
    ++position;
  }
  return schedule;
}

}  // namespace zerostream
