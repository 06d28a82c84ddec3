// The tokens of one pass.
#pragma once

#include <cstdint>
#include <vector>

#include "base/kernels.h"

namespace zerostream {

// Sequences packed side by side, no padding: row i of the pass is tokens[i] at positions[i] of its
// sequence. The vectors are reused from pass to pass.
struct PassBatch {
  std::vector<int32_t> tokens;
  std::vector<int32_t> positions;
  std::vector<SequenceSpan> sequences;  // in order of their rows
  std::vector<int32_t> logit_rows;      // rows whose logits are wanted, ascending
  // Rows that say how probable a token is, ascending, and that token of each.
  std::vector<int32_t> scored_rows;
  std::vector<int32_t> score_targets;

  void reserve(int64_t max_tokens, int64_t max_sequences) {
    tokens.reserve(max_tokens);
    positions.reserve(max_tokens);
    sequences.reserve(max_sequences);
    logit_rows.reserve(max_sequences);
    scored_rows.reserve(max_tokens);
    score_targets.reserve(max_tokens);
  }
  void clear() {
    tokens.clear();
    positions.clear();
    sequences.clear();
    logit_rows.clear();
    scored_rows.clear();
    score_targets.clear();
  }
};

}  // namespace zerostream
