#include "offload/kv_slots.h"

#include <algorithm>

#include "base/require.h"
#include "base/tensor.h"

namespace zerostream {

KvSlots::KvSlots(const KvBlocks& blocks, int64_t num_slots)
    : blocks_(blocks), num_slots_(num_slots), state_(blocks.num_blocks()) {
  for (int64_t slot = num_slots; slot-- > 0;) free_slots_.push_back(static_cast<int32_t>(slot));
}

bool KvSlots::claim(std::span<const SequenceSpan> sequences) {
  const int32_t size = blocks_.block_tokens();
  int64_t missing = 0;
  for (const SequenceSpan& sequence : sequences) {
    const int32_t end = sequence.position_begin + sequence.rows;
    for (int32_t i = ceil_div(sequence.position_begin, size); i * size < end; ++i) {
      Block& block = state_[sequence.block_table[i]];
      if (block.copy == Copy::kWriting) return false;  // of what it held before
      renew(block);
      if (block.slot < 0) ++missing;
    }
  }
  make_room(missing);
  if (missing > std::ssize(free_slots_)) return false;
  for (const SequenceSpan& sequence : sequences) {
    const int32_t end = sequence.position_begin + sequence.rows;
    for (int32_t i = sequence.position_begin / size; i * size < end; ++i) {
      Block& block = state_[sequence.block_table[i]];
      if (block.slot >= 0) continue;
      require(i * size >= sequence.position_begin, "a block that is being filled is in memory");
      block.slot = free_slots_.back();
      free_slots_.pop_back();
    }
  }
  return true;
}

void KvSlots::filled(std::span<const SequenceSpan> sequences) {
  const int32_t size = blocks_.block_tokens();
  for (const SequenceSpan& sequence : sequences) {
    const int32_t end = sequence.position_begin + sequence.rows;
    for (int32_t i = sequence.position_begin / size; (i + 1) * size <= end; ++i)
      state_[sequence.block_table[i]].filled = ++num_filled_;
  }
}

std::vector<int32_t> KvSlots::choose_spills(int64_t wanted) {
  int64_t coming = std::ssize(free_slots_);
  for (int32_t block = 0; block < std::ssize(state_); ++block) {
    const Block& state = state_[block];
    if (state.slot >= 0 && (state.copy != Copy::kNone || is_unused(block))) ++coming;
  }
  std::vector<int32_t> spills;
  if (coming >= wanted) return spills;
  for (int32_t block = 0; block < std::ssize(state_); ++block) {
    const Block& state = state_[block];
    if (state.slot >= 0 && state.filled > 0 && state.copy == Copy::kNone && !is_unused(block))
      spills.push_back(block);
  }
  std::sort(spills.begin(), spills.end(),
            [this](int32_t a, int32_t b) { return state_[a].filled > state_[b].filled; });
  if (std::ssize(spills) > wanted - coming) spills.resize(wanted - coming);
  for (const int32_t block : spills) state_[block].copy = Copy::kWriting;
  return spills;
}

void KvSlots::written(int32_t block) { state_[block].copy = Copy::kThere; }

// Nobody will ask for what it holds.
bool KvSlots::is_unused(int32_t block) const {
  return !blocks_.is_held(block) && !blocks_.is_sealed(block);
}

// The block holds nothing of worth any more; its slot, if it has one, stays.
void KvSlots::renew(Block& block) {
  block.filled = 0;
  block.copy = Copy::kNone;
}

void KvSlots::give_back(Block& block) {
  free_slots_.push_back(block.slot);
  block.slot = -1;
}

// Blocks that nobody asks for any more go first, then those that no row holds.
void KvSlots::make_room(int64_t wanted) {
  const auto enough = [&] { return std::ssize(free_slots_) >= wanted; };
  for (int32_t block = 0; block < std::ssize(state_) && !enough(); ++block)
    if (state_[block].slot >= 0 && state_[block].copy != Copy::kWriting && is_unused(block)) {
      renew(state_[block]);
      give_back(state_[block]);
    }
  for (const bool held : {false, true})
    for (int32_t block = 0; block < std::ssize(state_) && !enough(); ++block)
      if (is_clean(state_[block]) && blocks_.is_held(block) == held) give_back(state_[block]);
}

}  // namespace zerostream
