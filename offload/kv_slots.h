// Which KV blocks rest in memory, and which on storage.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/kernels.h"
#include "offload/kv_blocks.h"

namespace zerostream {

// Bookkeeping of a KV cache whose memory holds fewer blocks than its rows do. Blocks of KvBlocks
// have a slot of memory while rows write them; full ones may be spilled, that is written to
// storage, and evicted then. (To a device with memory of its own, host memory may be the storage.)
// What is in memory stays there as long as it can: every pass reads everything once, so a fixed
// part in memory saves most.
//
// A pass: claim() until it succeeds, compute, filled(), choose_spills(). Sequences are those of the
// pass, with tables of blocks. Threads: one. It moves no bytes.
class KvSlots {
 public:
  // `blocks` outlives this.
  KvSlots(const KvBlocks& blocks, int64_t num_slots);

  // Slot of a block, or -1: it is on storage alone.
  int32_t slot(int32_t block) const { return state_[block].slot; }
  int64_t num_slots() const { return num_slots_; }

  // Gives a slot to every block that the pass writes, and evicts others for it. False: that cannot
  // be before some block that is being spilled, or one that is spilled now, is on storage.
  bool claim(std::span<const SequenceSpan> sequences);
  // The pass is done: blocks that it filled may be spilled.
  void filled(std::span<const SequenceSpan> sequences);
  // Blocks to spill now so that `wanted` slots can be had when all spilling is done.
  std::vector<int32_t> choose_spills(int64_t wanted);
  // A spilled block is on storage.
  void written(int32_t block);

 private:
  enum class Copy : uint8_t { kNone, kWriting, kThere };
  struct Block {
    int32_t slot = -1;
    int64_t filled = 0;       // counts up as blocks become full; 0: it is not
    Copy copy = Copy::kNone;  // on storage
  };
  bool is_clean(const Block& block) const {
    return block.slot >= 0 && block.filled > 0 && block.copy == Copy::kThere;
  }
  bool is_unused(int32_t block) const;
  void renew(Block& block);
  void give_back(Block& block);
  void make_room(int64_t wanted);

  const KvBlocks& blocks_;
  const int64_t num_slots_;
  std::vector<Block> state_;
  std::vector<int32_t> free_slots_;  // a stack
  int64_t num_filled_ = 0;
};

}  // namespace zerostream
