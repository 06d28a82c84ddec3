#include "offload/kv_pool.h"

#include "base/require.h"

namespace zerostream {
namespace {

int64_t layer_block_bytes(const ModelConfig& config, DType dtype, int32_t block_tokens) {
  return round_up(dtype_bytes(dtype, 2 * block_tokens * config.key_value_size()), kTileBytes);
}

}  // namespace

int64_t KvPool::block_bytes(const ModelConfig& config, DType dtype, int32_t block_tokens) {
  return layer_block_bytes(config, dtype, block_tokens) * config.num_hidden_layers;
}

KvPool::KvPool(const ModelConfig& config, DType dtype, int32_t block_tokens, int64_t num_blocks,
               Device& device)
    : block_tokens_(block_tokens), num_blocks_(num_blocks) {
  const int64_t bytes = layer_block_bytes(config, dtype, block_tokens);
  memory_ = device.allocate(bytes * num_blocks * config.num_hidden_layers);
  for (int32_t layer = 0; layer < config.num_hidden_layers; ++layer)
    layers_.push_back({memory_.data() + layer * num_blocks * bytes, dtype, bytes, block_tokens,
                       config.num_key_value_heads, config.head_dim});
  for (int64_t block = num_blocks; block-- > 0;) free_.push_back(static_cast<int32_t>(block));
}

std::vector<int32_t> KvPool::take(int64_t count) {
  require(count <= free_blocks(), "enough KV blocks are free");
  std::vector<int32_t> blocks(free_.end() - count, free_.end());
  free_.resize(free_.size() - count);
  return blocks;
}

void KvPool::give_back(const std::vector<int32_t>& blocks) {
  free_.insert(free_.end(), blocks.rbegin(), blocks.rend());
}

}  // namespace zerostream
