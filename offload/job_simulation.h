// A whole job on a virtual clock.
#pragma once

#include <cstdint>
#include <vector>

#include "offload/simulator.h"
#include "offload/workload.h"

namespace zerostream {

// What bounds a pass from memory: as Wave has it.
struct SimulatedWave {
  int64_t max_sequences = 1;
  int64_t token_budget = 1;
  int64_t kv_blocks = 0;  // for all rows together
  int32_t block_tokens = 16;
  bool scored = false;  // logits of every token
};

struct JobPrediction {
  double seconds = 0, prefill_seconds = 0, decode_seconds = 0;  // a pass with prompt: prefill
  int64_t prefill_passes = 0, decode_passes = 0;
  double prompt_tokens = 0, generated_tokens = 0;
  double decode_tokens_per_second = 0;  // in passes without prompt
  ResourceSeconds busy, decode_busy;  // the latter in passes without prompt, and part of the former
  double weights_stall_seconds = 0, kv_stall_seconds = 0;
  int64_t most_rows = 0;       // in one pass
  PassShape decode_shape;      // the pass without prompt that computes most rows
  PassPrediction decode_pass;  // seconds 0: there was none

  double tokens_per_second() const { return seconds > 0 ? generated_tokens / seconds : 0; }
  double prefill_tokens_per_second() const {
    return prefill_seconds > 0 ? prompt_tokens / prefill_seconds : 0;
  }
  double bound_seconds() const { return busy.most(); }
};

struct RowTokens {
  int64_t prompt = 0;
  int64_t generated = 0;  // at least 1
};

// `count` rows with the workload's means, spread evenly between the longest and what lies as far
// below the mean. None is longer than the workload's longest, be it that it generates less.
std::vector<RowTokens> spread_rows(const Workload& workload, int64_t count);

// Rows join and leave at every pass as Wave lets them, and every pass takes what a pass among its
// like takes. Passes of nearly equal shape are simulated once. REQUIRES: rows that fit the wave.
JobPrediction simulate_rows(const Simulator& simulator, const SimulatedWave& wave,
                            const std::vector<RowTokens>& rows);

// The job that the workload describes. Only the first rows of a long one are simulated, and the
// rest taken to go on like these; of one without end, so many.
JobPrediction simulate_job(const Simulator& simulator, const SimulatedWave& wave,
                           const Workload& workload);

}  // namespace zerostream
