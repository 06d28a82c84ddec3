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

bool is_last_of_qkv(const std::vector<StoredMatrix>& matrices, const Segment* next, size_t index) {
  const auto is_qkv = [&](const StoredMatrix& matrix) {
    return matrix.role == MatrixRole::kQkv && matrix.layer == matrices[index].layer;
  };
  if (!is_qkv(matrices[index])) return false;
  if (index + 1 < matrices.size()) return !is_qkv(matrices[index + 1]);
  return next == nullptr || next->matrices.empty() || !is_qkv(next->matrices.front());
}

class Maker {
 public:
  Maker(std::span<const Segment> segments, const ScheduleOptions& options)
      : segments_(segments),
        options_(options),
        streamed_(streamed_segments(segments, options.resident)) {
    require(options.resident.size() == segments.size(), "every segment is resident or not");
    require(options.prefetch_depth >= 0, "prefetch depth is not negative");
    require(options.kv_micro_batches == 0 || options.kv_depth >= 0, "KV depth is not negative");
    for (const Segment& segment : segments)
      for (const StoredMatrix& matrix : segment.matrices)
        num_layers_ = std::max(num_layers_, matrix.layer + 1);
  }

  Schedule make() {
    schedule_.ring_bytes = slot_bytes(segments_, streamed_, options_.prefetch_depth);
    if (!streamed_.empty())
      for (int ahead = 0; ahead < options_.prefetch_depth; ++ahead)
        schedule_.prologue.push_back(fetch(ahead));
    for (int ahead = 0; ahead < options_.kv_depth; ++ahead) fetch_kv(ahead);
    add({.kind = StepKind::kEmbed});
    for (size_t i = 0; i < segments_.size(); ++i)
      if (!is_embedding(segments_[i])) use(static_cast<int32_t>(i));
    return std::move(schedule_);
  }

 private:
  void add(const Step& step) { schedule_.pass.push_back(step); }
  Step fetch(size_t position) const {
    return {.kind = StepKind::kFetch, .segment = streamed_[position % streamed_.size()]};
  }
  // The KV fetch at `position` of the pass, if there are so many.
  void fetch_kv(int32_t position) {
    if (position >= options_.kv_micro_batches * num_layers_) return;
    add({.kind = StepKind::kFetchKv,
         .layer = position / options_.kv_micro_batches,
         .micro_batch = position % options_.kv_micro_batches});
  }

  void use(int32_t index) {
    const Segment& segment = segments_[index];
    const bool resident = options_.resident[index];
    if (!resident) add(fetch(position_++ + options_.prefetch_depth));
    const Segment* next = index + 1 < std::ssize(segments_) ? &segments_[index + 1] : nullptr;
    for (size_t m = 0; m < segment.matrices.size(); ++m) {
      add({.kind = StepKind::kApply, .segment = index, .matrix = static_cast<int32_t>(m)});
      if (is_last_of_qkv(segment.matrices, next, m)) attend(segment.matrices[m].layer);
    }
    if (resident) return;
    add({.kind = StepKind::kRelease, .segment = index});
    schedule_.streamed_bytes += segment.bytes;
  }

  void attend(int32_t layer) {
    add({.kind = StepKind::kWriteKv, .layer = layer});
    if (options_.kv_micro_batches == 0) return add({.kind = StepKind::kAttend, .layer = layer});
    for (int32_t micro_batch = 0; micro_batch < options_.kv_micro_batches; ++micro_batch) {
      fetch_kv(kv_position_++ + options_.kv_depth);
      add({.kind = StepKind::kAttend, .layer = layer, .micro_batch = micro_batch});
      add({.kind = StepKind::kReleaseKv, .layer = layer, .micro_batch = micro_batch});
    }
  }

  std::span<const Segment> segments_;
  const ScheduleOptions& options_;
  const std::vector<int32_t> streamed_;
  int32_t num_layers_ = 0;
  size_t position_ = 0;
  int32_t kv_position_ = 0;
  Schedule schedule_;
};

}  // namespace

Schedule make_schedule(std::span<const Segment> segments, const ScheduleOptions& options) {
  return Maker(segments, options).make();
}

}  // namespace zerostream
