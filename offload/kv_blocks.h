// Which KV blocks belong to whom.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace zerostream {

// Bookkeeping of KV blocks: reference counts, and reuse of blocks whose tokens, from the first of
// the row on, are the same. It knows nothing of where the bytes rest.
//
// A block is free, held (by one row or more), or cached: full, sealed, held by nobody, kept until
// its memory is wanted, least recently used first. Only sealed blocks are shared, and they never
// change. Blocks are compared by their tokens and those of all blocks before, not by hash alone.
//
// Threads: one. Nothing allocates after construction but the callers' vectors.
class KvBlocks {
 public:
  // `hash_buckets`: chains of the hash table; 0: as many as blocks. One makes all content collide.
  KvBlocks(int64_t num_blocks, int32_t block_tokens, int64_t hash_buckets = 0);
  ~KvBlocks();

  int64_t num_blocks() const;
  int32_t block_tokens() const;
  int64_t blocks_for(int64_t tokens) const;
  // Blocks that take() can give: free and cached ones.
  int64_t available() const;

  // Takes a free block, else the cached one that was used least recently.
  // REQUIRES: available() > 0.
  int32_t take();
  // Continues `blocks`, which are full and went through seal() or come from here, by sealed blocks
  // of the following tokens: appends and holds them. `tokens` are the row's, from its start. Never
  // covers the last token, as its logits are wanted. Returns the tokens that `blocks` now covers.
  int64_t extend_by_known(std::span<const int32_t> tokens, std::vector<int32_t>& blocks);
  // Makes full blocks [first, last) of a row known to other rows. Their keys and values are
  // computed, or will be in the pass that is being composed. `tokens` and `blocks` are the row's,
  // from its start; those before `first` went through here, too. A block whose content is known
  // under another number stays the row's own, unsealed.
  void seal(std::span<const int32_t> tokens, std::span<const int32_t> blocks, int64_t first,
            int64_t last);
  // Lets go of one reference on each, the last first, so that beginnings are cached longest.
  void release(std::span<const int32_t> blocks);
  // Forgets all content: for keys and values that were lost. REQUIRES: no block is held.
  void forget();

  bool is_held(int32_t block) const;
  bool is_sealed(int32_t block) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace zerostream
