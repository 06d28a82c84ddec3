// Vectorised attention over paged keys and values.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/kernels.h"
#include "cpu/cpu_isa.h"

namespace zerostream {

// The most rows of an item.
inline constexpr int64_t kAttentionRows = 64;
// Positions that are taken at once. Tiles begin at multiples of it, counted from the sequence's
// start, so that a row sees the same tiles whoever computes beside it.
inline constexpr int64_t kAttentionTile = 64;
// Positions that are summed apart from others; pieces begin at multiples of it.
inline constexpr int64_t kAttentionPiece = 512;

struct PositionRange {
  int64_t begin;
  int64_t end;
};

// Rows [row_begin, row_end) of one sequence and KV head, at most kAttentionRows. A row is a
// (position, query head of the group) pair; they are numbered position by position.
struct AttentionItem {
  const SequenceSpan* sequence;
  int64_t kv_head;
  int64_t row_begin;
  int64_t row_end;

  // Query heads for each KV head.
  static int64_t group(const AttentionArgs& args) {
    return args.query.cols / args.kv.head_dim / args.kv.num_key_value_heads;
  }
  int64_t query_head(const AttentionArgs& args, int64_t row) const {
    return kv_head * group(args) + row % group(args);
  }
  // Its row of query and target.
  int64_t token_of(const AttentionArgs& args, int64_t row) const {
    return sequence->row_begin + row / group(args);
  }
  // The positions that a row sees; the last is its own.
  PositionRange positions_of(const AttentionArgs& args, int64_t row) const {
    const int64_t end = sequence->position_begin + row / group(args) + 1;
    return {args.sliding_window > 0 ? std::max<int64_t>(0, end - args.sliding_window) : 0, end};
  }
  // Numbers of the pieces that its rows see.
  PositionRange pieces(const AttentionArgs& args) const {
    return {positions_of(args, row_begin).begin / kAttentionPiece,
            ceil_div(positions_of(args, row_end - 1).end, kAttentionPiece)};
  }
};

// What an operation needs besides its arguments, 64-byte aligned.
struct AttentionScratch {
  float* cells;   // of the tile at hand: its keys, transposed, then its values [tile][padded]
  float* scores;  // [kAttentionRows][kAttentionTile]

  // head_dim rounded up to whole vectors of any instruction set.
  static constexpr int64_t padded(int64_t head_dim) { return round_up(head_dim, 16); }
  static constexpr int64_t floats(int64_t head_dim) {
    return kAttentionTile * padded(head_dim) + kAttentionRows * kAttentionTile;
  }
  static AttentionScratch in(float* memory, int64_t head_dim);
};

// Each row's softmax over some positions, before the division. 64-byte aligned.
struct AttentionSums {
  float* sums;     // [rows][padded]: of exp(score - largest) * value
  float* largest;  // [rows]: score
  float* totals;   // [rows]: of exp(score - largest)

  static constexpr int64_t floats(int64_t rows, int64_t head_dim) {
    return rows * AttentionScratch::padded(head_dim) + round_up(2 * rows, 16);
  }
  static AttentionSums in(float* memory, int64_t rows, int64_t head_dim);
};

// Online softmax, tile by tile within a piece; pieces are merged in ascending order, wherever they
// were computed. The result of a row is a function of its query and of the keys and values that it
// may see, in every bit: sums run over head columns and over positions in this one order, and a
// position that is masked takes no part.
struct AttentionOps {
  // Sums over one of the item's pieces.
  void (*add_piece)(const AttentionArgs& args, const AttentionItem& item, int64_t piece,
                    const AttentionScratch& scratch, const AttentionSums& target);
  // Adds the sums of `piece` to those of the item's earlier pieces.
  void (*merge)(const AttentionArgs& args, const AttentionItem& item, int64_t piece,
                const AttentionSums& more, const AttentionSums& sums);
  void (*write)(const AttentionArgs& args, const AttentionItem& item, const AttentionSums& sums);
};

const AttentionOps& attention_ops(CpuIsa isa);

}  // namespace zerostream
