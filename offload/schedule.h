// What a pass does, step by step.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "offload/packed_store.h"

namespace zerostream {

enum class StepKind : uint8_t {
  kFetch,    // start fetching `segment`
  kEmbed,    // token ids become hidden states
  kApply,    // run `matrix` of `segment`; its first use waits for the segment
  kRelease,  // the last reader of `segment` is enqueued: its slot may be reused after it
};

struct Step {
  StepKind kind = StepKind::kApply;
  int32_t segment = 0;  // index in PackedStore::segments()
  int32_t matrix = 0;   // index in the segment

  friend bool operator==(const Step&, const Step&) = default;
};

// The steps of every pass. Fetches run ahead of use and wrap into the next pass: those at the end
// of `pass` are for the segments that the next pass uses first. `prologue` comes once, before the
// first pass.
struct Schedule {
  std::vector<Step> prologue;
  std::vector<Step> pass;
  int64_t streamed_bytes = 0;  // per pass, without embeddings, which are read by row
  int64_t ring_bytes = 0;      // device memory that the slots of this schedule need at most
};

// resident[i]: segment i rests in device memory and is never fetched. prefetch_depth: fetches ahead
// of the segment in use. A pure function.
Schedule make_schedule(std::span<const Segment> segments, const std::vector<bool>& resident,
                       int prefetch_depth);

// True for segments that hold an embedding table: they are read by row, not fetched.
bool is_embedding(const Segment& segment);

}  // namespace zerostream
