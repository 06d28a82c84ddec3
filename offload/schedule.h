// What a pass does, step by step.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "offload/model_layout.h"

namespace zerostream {

enum class StepKind : uint8_t {
  kFetch,      // start fetching `segment`
  kEmbed,      // token ids become hidden states
  kApply,      // run `matrix` of `segment`; its first use waits for the segment
  kWriteKv,    // keys and values of all rows of the pass go into `layer`'s KV blocks
  kFetchKv,    // start fetching the KV blocks of `micro_batch` in `layer`
  kAttend,     // attention of the rows of `micro_batch` in `layer`; waits for its KV fetch
  kReleaseKv,  // the last reader of that fetch is enqueued
  kRelease,    // the last reader of `segment` is enqueued: its slot may be reused after it
};

struct Step {
  StepKind kind = StepKind::kApply;
  int32_t segment = 0;  // index in ModelLayout::segments
  int32_t matrix = 0;   // index in the segment
  int32_t layer = 0;
  int32_t micro_batch = 0;

  friend bool operator==(const Step&, const Step&) = default;
};

struct ScheduleOptions {
  std::vector<bool> resident;  // per segment: it rests in device memory and is never fetched
  int32_t prefetch_depth = 0;  // fetches ahead of the segment in use
  // 0: all keys and values rest in device memory, and each layer has one kAttend for all rows. Else
  // the pass's rows are cut into so many micro-batches, each with its own KV fetch per layer.
  int32_t kv_micro_batches = 0;
  int32_t kv_depth = 1;  // KV fetches ahead of the one in use
};

// The steps of every pass. Fetches of weights run ahead of use and wrap into the next pass: those
// at the end of `pass` are for the segments that the next pass uses first. `prologue` comes once,
// before the first pass. KV fetches stay within their pass. Passes may differ in their
// micro-batches; all else must be equal from one pass to the next.
struct Schedule {
  std::vector<Step> prologue;
  std::vector<Step> pass;
  int64_t streamed_bytes = 0;  // per pass, without embeddings, which are read by row
  int64_t ring_bytes = 0;      // device memory that the slots of this schedule need at most
};

// A pure function.
Schedule make_schedule(std::span<const Segment> segments, const ScheduleOptions& options);

}  // namespace zerostream
