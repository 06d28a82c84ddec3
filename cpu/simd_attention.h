// Vectorised attention over paged keys and values.
#pragma once

#include <cstdint>

#include "base/kernels.h"
#include "cpu/cpu_isa.h"

namespace zerostream {

// The rows of one item of work: (position, query head of the group) pairs of one sequence and KV
// head, numbered position by position.
inline constexpr int64_t kAttentionRows = 64;
// Positions that are taken at once. Tiles begin at multiples of it, counted from the sequence's
// start, so that a row sees the same tiles whoever computes beside it.
inline constexpr int64_t kAttentionTile = 64;

// What one worker needs, all 64-byte aligned.
struct AttentionScratch {
  float*
      cells;  // of the tile at hand: its keys, transposed, then its values [kAttentionTile][padded]
  float* scores;  // [kAttentionRows][kAttentionTile]
  float* sums;    // [kAttentionRows][padded]

  // head_dim rounded up to whole vectors of any instruction set.
  static constexpr int64_t padded(int64_t head_dim) { return round_up(head_dim, 16); }
  // Floats of all three for heads of up to `head_dim`, and the parts of a run of that many floats.
  static constexpr int64_t floats(int64_t head_dim) {
    return (kAttentionTile + kAttentionRows) * padded(head_dim) + kAttentionRows * kAttentionTile;
  }
  static AttentionScratch in(float* memory, int64_t head_dim);
};

// Work of one call: rows [row_begin, row_end) of `sequence` and `kv_head`, at most kAttentionRows.
struct AttentionItem {
  const SequenceSpan* sequence;
  int64_t kv_head;
  int64_t row_begin;
  int64_t row_end;
};

// Online softmax, tile by tile. The result of a row is a function of its query and of the keys and
// values that it may see, in every bit: sums run over head columns and over positions in ascending
// order, and a position that is masked takes no part.
using AttentionOp = void (*)(const AttentionArgs& args, const AttentionItem& item,
                             const AttentionScratch& scratch);

AttentionOp attention_op(CpuIsa isa);

}  // namespace zerostream
