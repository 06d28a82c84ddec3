#include "offload/kv_micro_batches.h"

#include <algorithm>

#include "base/require.h"

namespace zerostream {

KvMicroBatches::KvMicroBatches(const KvBlocks& blocks, const KvSlots& slots, int64_t block_bytes,
                               int64_t slot_blocks)
    : blocks_(blocks),
      slots_(slots),
      block_bytes_(block_bytes),
      slot_blocks_(slot_blocks),
      marks_(blocks.num_blocks(), 0),
      places_(blocks.num_blocks(), 0) {}

void KvMicroBatches::cut(std::span<const SequenceSpan> pass) {
  count_ = 0;
  size_t begin = 0;
  while (begin < pass.size()) {
    const size_t end = take_sequences(pass, begin);
    if (!wanted_.empty()) add(begin, end);
    begin = end;
  }
  if (count_ == 0) return;
  batches_[0].begin = 0;  // sequences whose blocks are all in memory go along
  for (int32_t i = 0; i + 1 < count_; ++i) batches_[i].end = batches_[i + 1].begin;
  batches_[count_ - 1].end = pass.size();
}

// Collects in `wanted_` the blocks that sequences from `begin` on have elsewhere, each once, until
// a slot is full; the end of those sequences.
size_t KvMicroBatches::take_sequences(std::span<const SequenceSpan> pass, size_t begin) {
  ++mark_;
  wanted_.clear();
  size_t index = begin;
  for (; index < pass.size(); ++index) {
    const size_t before = wanted_.size();
    for (int64_t i = 0; i < blocks_.blocks_for(pass[index].position_begin + pass[index].rows);
         ++i) {
      const int32_t block = pass[index].block_table[i];
      if (slots_.slot(block) >= 0 || marks_[block] == mark_) continue;
      marks_[block] = mark_;
      wanted_.push_back(block);
    }
    if (std::ssize(wanted_) <= slot_blocks_) continue;
    require(index > begin, "one row's keys and values of a layer fit a slot");
    wanted_.resize(before);
    break;
  }
  return index;
}

void KvMicroBatches::add(size_t begin, size_t end) {
  if (count_ == std::ssize(batches_)) batches_.emplace_back();
  KvMicroBatch& batch = batches_[count_++];
  batch.begin = begin;
  batch.end = end;
  batch.blocks = std::ssize(wanted_);
  batch.pieces.clear();
  std::sort(wanted_.begin(), wanted_.end());
  for (size_t i = 0; i < wanted_.size(); ++i) {
    if (i > 0 && wanted_[i] == wanted_[i - 1] + 1)
      batch.pieces.back().bytes += block_bytes_;
    else
      batch.pieces.push_back({wanted_[i] * block_bytes_, block_bytes_});
  }
}

void KvMicroBatches::number_blocks(int32_t index) {
  int32_t place = 0;
  for (const FilePiece& piece : batches_[index].pieces)
    for (int64_t at = piece.offset; at < piece.offset + piece.bytes; at += block_bytes_)
      places_[at / block_bytes_] = place++;
}

}  // namespace zerostream
