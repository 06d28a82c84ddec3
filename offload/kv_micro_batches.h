// How a pass is cut so that what it needs of keys and values from elsewhere fits slots.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/kernels.h"
#include "offload/kv_blocks.h"
#include "offload/kv_slots.h"
#include "prefetch/prefetcher.h"

namespace zerostream {

// A run of the pass's sequences, and what of their blocks is not in memory.
struct KvMicroBatch {
  size_t begin = 0, end = 0;
  int64_t blocks = 0;
  std::vector<FilePiece> pieces;  // in ascending order, of a layer's blocks side by side
};

// Cuts passes into micro-batches, each with as many sequences as a slot has room for. A pass whose
// blocks are all in memory has none.
//
// Threads: one; a micro-batch's pieces may be read by others until the next cut(). Allocates only
// while passes are larger than any before.
class KvMicroBatches {
 public:
  // References outlive this. block_bytes: of a layer. slot_blocks: most that a micro-batch brings.
  KvMicroBatches(const KvBlocks& blocks, const KvSlots& slots, int64_t block_bytes,
                 int64_t slot_blocks);

  // REQUIRES: no row alone needs more than a slot has room for.
  void cut(std::span<const SequenceSpan> pass);
  int32_t count() const { return count_; }
  const KvMicroBatch& operator[](int32_t index) const { return batches_[index]; }
  // Where in its slot each block of the micro-batch lies, for place().
  void number_blocks(int32_t index);
  int32_t place(int32_t block) const { return places_[block]; }

 private:
  size_t take_sequences(std::span<const SequenceSpan> pass, size_t begin);
  void add(size_t begin, size_t end);

  const KvBlocks& blocks_;
  const KvSlots& slots_;
  const int64_t block_bytes_, slot_blocks_;
  std::vector<KvMicroBatch> batches_;  // kept for their memory; the first count_ count
  int32_t count_ = 0;
  std::vector<int32_t> wanted_;
  std::vector<int64_t> marks_;  // by block: the last micro-batch that wanted it
  int64_t mark_ = 0;
  std::vector<int32_t> places_;  // by block
};

}  // namespace zerostream
