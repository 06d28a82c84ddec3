#include "offload/kv_blocks.h"

#include <algorithm>

#include "base/digest.h"
#include "base/require.h"
#include "base/tensor.h"

namespace zerostream {
namespace {

constexpr int32_t kNone = -1;
constexpr uint64_t kStart = 0;  // what comes before a row's first block

struct Block {
  int32_t holders = 0;
  bool sealed = false;
  // Names the tokens up to the end of this block; never given twice, so that a block whose
  // beginning was dropped is not found by a later, other beginning. Unsealed blocks have one when
  // their content is that of a sealed block.
  uint64_t content = 0;
  uint64_t beginning = 0;  // content of the block before
  int32_t next_in_bucket = kNone;
  int32_t older = kNone, newer = kNone;  // among cached blocks
};

}  // namespace

struct KvBlocks::State {
  int32_t block_tokens;
  std::vector<Block> blocks;
  std::vector<int32_t> tokens;  // [blocks, block_tokens]; of sealed blocks
  std::vector<int32_t> buckets;
  std::vector<int32_t> free;  // a stack: blocks used last are used again first
  int32_t oldest = kNone, newest = kNone;
  int64_t cached = 0;
  uint64_t last_content = kStart;

  const int32_t* tokens_of(int32_t block) const {
    return tokens.data() + int64_t{block} * block_tokens;
  }
  int32_t& bucket(uint64_t beginning, const int32_t* content);
  int32_t find(uint64_t beginning, const int32_t* content);
  uint64_t content_before(std::span<const int32_t> row_blocks, int64_t index) const;
  void seal(int32_t block, uint64_t beginning, const int32_t* content);
  void unseal(int32_t block);
  void push_cached(int32_t block);
  void remove_cached(int32_t block);
  void reset();
};

KvBlocks::KvBlocks(int64_t num_blocks, int32_t block_tokens, int64_t hash_buckets)
    : state_(std::make_unique<State>()) {
  require(num_blocks > 0 && block_tokens > 0 && hash_buckets >= 0, "there are blocks with tokens");
  state_->block_tokens = block_tokens;
  state_->blocks.resize(num_blocks);
  state_->tokens.resize(num_blocks * block_tokens);
  state_->buckets.resize(hash_buckets > 0 ? hash_buckets : num_blocks);
  state_->free.reserve(num_blocks);
  state_->reset();
}

KvBlocks::~KvBlocks() = default;

int64_t KvBlocks::num_blocks() const { return static_cast<int64_t>(state_->blocks.size()); }
int32_t KvBlocks::block_tokens() const { return state_->block_tokens; }
int64_t KvBlocks::blocks_for(int64_t tokens) const {
  return ceil_div(tokens, state_->block_tokens);
}
int64_t KvBlocks::available() const {
  return static_cast<int64_t>(state_->free.size()) + state_->cached;
}
bool KvBlocks::is_held(int32_t block) const { return state_->blocks[block].holders > 0; }
bool KvBlocks::is_sealed(int32_t block) const { return state_->blocks[block].sealed; }

int32_t KvBlocks::take() {
  State& state = *state_;
  require(available() > 0, "a KV block is available");
  int32_t block = state.oldest;
  if (!state.free.empty()) {
    block = state.free.back();
    state.free.pop_back();
  } else {
    state.remove_cached(block);
    state.unseal(block);
  }
  state.blocks[block].holders = 1;
  return block;
}

int64_t KvBlocks::extend_by_known(std::span<const int32_t> tokens, std::vector<int32_t>& blocks) {
  State& state = *state_;
  const int64_t most = (static_cast<int64_t>(tokens.size()) - 1) / state.block_tokens;
  for (auto index = static_cast<int64_t>(blocks.size()); index < most; ++index) {
    const int32_t block =
        state.find(state.content_before(blocks, index), tokens.data() + index * state.block_tokens);
    if (block == kNone) break;
    if (state.blocks[block].holders++ == 0) state.remove_cached(block);
    blocks.push_back(block);
  }
  return static_cast<int64_t>(blocks.size()) * state.block_tokens;
}

void KvBlocks::seal(std::span<const int32_t> tokens, std::span<const int32_t> blocks, int64_t first,
                    int64_t last) {
  State& state = *state_;
  require(last * state.block_tokens <= static_cast<int64_t>(tokens.size()),
          "sealed blocks are full");
  for (int64_t index = first; index < last; ++index) {
    const uint64_t beginning = state.content_before(blocks, index);
    const int32_t* content = tokens.data() + index * state.block_tokens;
    const int32_t known = state.find(beginning, content);
    if (known == kNone)
      state.seal(blocks[index], beginning, content);
    else
      state.blocks[blocks[index]].content = state.blocks[known].content;
  }
}

void KvBlocks::release(std::span<const int32_t> blocks) {
  for (auto it = blocks.rbegin(); it != blocks.rend(); ++it) {
    Block& block = state_->blocks[*it];
    require(block.holders > 0, "a released KV block is held");
    if (--block.holders > 0) continue;
    if (block.sealed) {
      state_->push_cached(*it);
    } else {
      block.content = kStart;
      state_->free.push_back(*it);
    }
  }
}

void KvBlocks::forget() {
  require(available() == num_blocks(), "no KV block is held");
  state_->reset();
}

int32_t& KvBlocks::State::bucket(uint64_t beginning, const int32_t* content) {
  const uint64_t digest = digest_of(content, block_tokens * sizeof(int32_t));
  constexpr uint64_t kOdd = 0x9e3779b97f4a7c15;
  return buckets[(digest ^ beginning * kOdd) % buckets.size()];
}

int32_t KvBlocks::State::find(uint64_t beginning, const int32_t* content) {
  int32_t block = bucket(beginning, content);
  while (block != kNone && (blocks[block].beginning != beginning ||
                            !std::equal(content, content + block_tokens, tokens_of(block))))
    block = blocks[block].next_in_bucket;
  return block;
}

uint64_t KvBlocks::State::content_before(std::span<const int32_t> row_blocks, int64_t index) const {
  if (index == 0) return kStart;
  const uint64_t content = blocks[row_blocks[index - 1]].content;
  require(content != kStart, "the blocks before went through seal()");
  return content;
}

void KvBlocks::State::seal(int32_t block, uint64_t beginning, const int32_t* content) {
  Block& sealed = blocks[block];
  require(sealed.holders > 0 && !sealed.sealed, "a block is sealed once, by who holds it");
  std::copy_n(content, block_tokens, tokens.data() + int64_t{block} * block_tokens);
  sealed.sealed = true;
  sealed.content = ++last_content;
  sealed.beginning = beginning;
  int32_t& head = bucket(beginning, content);
  sealed.next_in_bucket = head;
  head = block;
}

void KvBlocks::State::unseal(int32_t block) {
  int32_t* link = &bucket(blocks[block].beginning, tokens_of(block));
  while (*link != block) link = &blocks[*link].next_in_bucket;
  *link = blocks[block].next_in_bucket;
  blocks[block].sealed = false;
  blocks[block].content = kStart;
}

void KvBlocks::State::push_cached(int32_t block) {
  blocks[block].older = newest;
  blocks[block].newer = kNone;
  (newest == kNone ? oldest : blocks[newest].newer) = block;
  newest = block;
  ++cached;
}

void KvBlocks::State::remove_cached(int32_t block) {
  const Block& removed = blocks[block];
  (removed.older == kNone ? oldest : blocks[removed.older].newer) = removed.newer;
  (removed.newer == kNone ? newest : blocks[removed.newer].older) = removed.older;
  --cached;
}

void KvBlocks::State::reset() {
  std::fill(blocks.begin(), blocks.end(), Block{});
  std::fill(buckets.begin(), buckets.end(), kNone);
  oldest = newest = kNone;
  cached = 0;
  free.clear();
  for (auto block = static_cast<int32_t>(blocks.size()); block-- > 0;) free.push_back(block);
}

}  // namespace zerostream
