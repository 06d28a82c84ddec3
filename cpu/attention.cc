#include "cpu/attention.h"

#include <algorithm>
#include <array>

#include "cpu/sequence_items.h"
#include "cpu/simd_attention.h"

namespace zerostream {
namespace {

// One call. A sequence's items are its blocks of rows, those with the most positions first, each
// for all KV heads. A sequence of few rows whose items would keep the other workers waiting is
// split: its items are the pieces of its context, whose sums lie in the workers' scratch until they
// are merged.
class Attention {
 public:
  Attention(const AttentionArgs& args, CpuStream& stream)
      : args_(args),
        stream_(stream),
        ops_(attention_ops(stream.isa())),
        kv_heads_(args.kv.num_key_value_heads),
        group_(AttentionItem::group(args)) {
    plan_splits();
  }

  void run() {
    const auto items_of = [this](int32_t s) {
      const Split* split = split_of(s);
      return split != nullptr ? split->pieces.end * kv_heads_ - split->pieces.begin * kv_heads_
                              : row_blocks(s) * kv_heads_;
    };
    for_sequences(stream_, args_.num_sequences, items_of, [this](int worker, int32_t s, int64_t i) {
      if (const Split* split = split_of(s); split != nullptr)
        add_piece(worker, *split, i);
      else
        attend(worker, item(s, row_blocks(s) - 1 - i / kv_heads_, i % kv_heads_));
    });
    if (num_splits_ > 0)
      stream_.pool().parallel_for(num_splits_ * kv_heads_, [this](int, int64_t i) {
        merge(splits_[static_cast<size_t>(i / kv_heads_)], i % kv_heads_);
      });
  }

  // What a worker needs for itself: two runs of sums follow the scratch.
  static int64_t own_floats(int64_t head_dim) {
    return AttentionScratch::floats(head_dim) + 2 * AttentionSums::floats(kAttentionRows, head_dim);
  }

 private:
  struct Split {
    int32_t sequence;
    PositionRange pieces;
    int64_t first_slot;  // its sums: [KV head][piece]
  };
  static constexpr size_t kMostSplits = 64;
  // A sequence is split if one of its items is more than a worker's share divided by this.
  static constexpr int64_t kItemsPerShare = 4;

  int64_t rows_of(int32_t s) const { return args_.sequences[s].rows * group_; }
  int64_t row_blocks(int32_t s) const { return ceil_div(rows_of(s), kAttentionRows); }
  AttentionItem item(int32_t s, int64_t row_block, int64_t kv_head) const {
    const int64_t begin = row_block * kAttentionRows;
    return {&args_.sequences[s], kv_head, begin, std::min(begin + kAttentionRows, rows_of(s))};
  }
  PositionRange pieces_of(int32_t s) const { return item(s, row_blocks(s) - 1, 0).pieces(args_); }

  void plan_splits() {
    int64_t all = 0;
    for (int32_t s = 0; s < args_.num_sequences; ++s) {
      if (rows_of(s) == 0) continue;
      const PositionRange pieces = pieces_of(s);
      all += (pieces.end - pieces.begin) * row_blocks(s) * kv_heads_;
      if (row_blocks(s) == 1) slot_floats_ = std::max(slot_floats_, sums_floats(rows_of(s)));
    }
    if (slot_floats_ == 0 || stream_.pool().workers() == 1) return;
    slots_per_worker_ = (scratch_floats(stream_) - own_floats(args_.kv.head_dim)) / slot_floats_;
    const int64_t slots = slots_per_worker_ * stream_.pool().workers();
    int64_t used = 0;
    for (int32_t s = 0; s < args_.num_sequences && num_splits_ < kMostSplits; ++s) {
      if (row_blocks(s) != 1) continue;
      const PositionRange pieces = pieces_of(s);
      const int64_t count = pieces.end - pieces.begin;
      if (count == 1 || count * kItemsPerShare * stream_.pool().workers() <= all) continue;
      if (used + count * kv_heads_ > slots) continue;
      splits_[num_splits_++] = {s, pieces, used};
      used += count * kv_heads_;
    }
  }

  const Split* split_of(int32_t s) const {
    for (size_t i = 0; i < num_splits_; ++i)
      if (splits_[i].sequence == s) return &splits_[i];
    return nullptr;
  }

  int64_t sums_floats(int64_t rows) const { return AttentionSums::floats(rows, args_.kv.head_dim); }
  AttentionScratch scratch(int worker) const {
    return AttentionScratch::in(floats_of(stream_, worker), args_.kv.head_dim);
  }
  AttentionSums own_sums(int worker, int64_t index) const {
    float* memory = floats_of(stream_, worker) + AttentionScratch::floats(args_.kv.head_dim);
    return AttentionSums::in(memory + index * sums_floats(kAttentionRows), kAttentionRows,
                             args_.kv.head_dim);
  }
  AttentionSums slot(const Split& split, int64_t kv_head, int64_t piece) const {
    const int64_t pieces = split.pieces.end - split.pieces.begin;
    const int64_t index = split.first_slot + kv_head * pieces + piece - split.pieces.begin;
    float* memory = floats_of(stream_, static_cast<int>(index / slots_per_worker_)) +
                    own_floats(args_.kv.head_dim) + index % slots_per_worker_ * slot_floats_;
    return AttentionSums::in(memory, rows_of(split.sequence), args_.kv.head_dim);
  }

  void attend(int worker, const AttentionItem& item) const {
    const PositionRange pieces = item.pieces(args_);
    const AttentionSums sums = own_sums(worker, 0), more = own_sums(worker, 1);
    ops_.add_piece(args_, item, pieces.begin, scratch(worker), sums);
    for (int64_t piece = pieces.begin + 1; piece < pieces.end; ++piece) {
      ops_.add_piece(args_, item, piece, scratch(worker), more);
      ops_.merge(args_, item, piece, more, sums);
    }
    ops_.write(args_, item, sums);
  }

  void add_piece(int worker, const Split& split, int64_t index) const {
    const int64_t kv_head = index % kv_heads_, piece = split.pieces.begin + index / kv_heads_;
    ops_.add_piece(args_, item(split.sequence, 0, kv_head), piece, scratch(worker),
                   slot(split, kv_head, piece));
  }

  void merge(const Split& split, int64_t kv_head) const {
    const AttentionItem whole = item(split.sequence, 0, kv_head);
    const AttentionSums sums = slot(split, kv_head, split.pieces.begin);
    for (int64_t piece = split.pieces.begin + 1; piece < split.pieces.end; ++piece)
      ops_.merge(args_, whole, piece, slot(split, kv_head, piece), sums);
    ops_.write(args_, whole, sums);
  }

  const AttentionArgs& args_;
  CpuStream& stream_;
  const AttentionOps& ops_;
  const int64_t kv_heads_, group_;
  int64_t slot_floats_ = 0;
  int64_t slots_per_worker_ = 0;
  std::array<Split, kMostSplits> splits_;
  size_t num_splits_ = 0;
};

}  // namespace

void cpu_attention(const AttentionArgs& args, CpuStream& stream) {
  require_scratch(stream, Attention::own_floats(args.kv.head_dim));
  stream.enqueue([args, &stream] { Attention(args, stream).run(); });
}

}  // namespace zerostream
