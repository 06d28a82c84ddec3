// Memory for keys and values, in blocks.
#pragma once

#include <cstdint>
#include <vector>

#include "base/device.h"
#include "base/kernels.h"
#include "model/config.h"

namespace zerostream {

// A pool of KV blocks in device memory. Block b of the pool is block b of every layer; a row's
// positions i * block_tokens and on lie in the i-th of its blocks. Blocks of a layer are
// contiguous, each padded to 4 KiB. Threads: one.
class KvPool {
 public:
  KvPool(const ModelConfig& config, DType dtype, int32_t block_tokens, int64_t num_blocks,
         Device& device);
  // Bytes of one block over all layers.
  static int64_t block_bytes(const ModelConfig& config, DType dtype, int32_t block_tokens);

  const KvLayerView* layers() const { return layers_.data(); }  // [num_hidden_layers]
  int64_t num_blocks() const { return num_blocks_; }
  int64_t free_blocks() const { return static_cast<int64_t>(free_.size()); }
  int64_t blocks_for(int64_t tokens) const { return ceil_div(tokens, block_tokens_); }
  // Takes `count` blocks. REQUIRES: count <= free_blocks().
  std::vector<int32_t> take(int64_t count);
  void give_back(const std::vector<int32_t>& blocks);

 private:
  int32_t block_tokens_;
  int64_t num_blocks_;
  Buffer memory_;
  std::vector<KvLayerView> layers_;
  std::vector<int32_t> free_;  // a stack: blocks used last are used again first
};

}  // namespace zerostream
