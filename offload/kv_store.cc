#include "offload/kv_store.h"

#include <algorithm>
#include <limits>

#include "base/tensor.h"
#include "offload/device_arrays.h"
#include "offload/kv_overflow.h"

namespace zerostream {
namespace {

int64_t layer_block_bytes(const ModelConfig& config, DType dtype, int32_t block_tokens) {
  return round_up(
      KvLayerView::content_bytes(dtype, block_tokens, config.num_key_value_heads, config.head_dim),
      kTileBytes);
}

}  // namespace

int64_t KvStore::block_bytes(const ModelConfig& config, DType dtype, int32_t block_tokens) {
  return layer_block_bytes(config, dtype, block_tokens) * config.num_hidden_layers;
}

int64_t KvStore::ring_bytes(const ModelConfig& config, DType dtype, int32_t block_tokens,
                            int64_t longest_row, int64_t slot_bytes) {
  const int64_t bytes = layer_block_bytes(config, dtype, block_tokens);
  const int64_t row = ceil_div(longest_row, block_tokens) * bytes;
  return kRingSlots * round_up(std::max(row, slot_bytes), bytes);
}

int64_t KvStore::table_bytes(int64_t max_sequences, int64_t longest_row, int32_t block_tokens) {
  return kRingSlots * DeviceArrays::sequence_bytes(max_sequences, longest_row, block_tokens);
}

KvStore::KvStore(const ModelConfig& config, const KvBlocks& blocks, const KvStoreOptions& options,
                 Device& device) {
  const int64_t bytes = layer_block_bytes(config, options.dtype, blocks.block_tokens());
  const int64_t pool_bytes = bytes * options.memory_blocks * config.num_hidden_layers;
  const bool overflows = options.memory_blocks < blocks.num_blocks();
  memory_ = device.allocate(pool_bytes + (overflows ? options.ring_bytes : 0));
  for (int32_t layer = 0; layer < config.num_hidden_layers; ++layer)
    layers_.push_back({memory_.data() + layer * options.memory_blocks * bytes, options.dtype, bytes,
                       blocks.block_tokens(), config.num_key_value_heads, config.head_dim});
  if (overflows)
    overflow_ =
        std::make_unique<KvOverflow>(blocks, options, layers_, memory_.data() + pool_bytes, device);
}

KvStore::~KvStore() = default;

double KvStore::begin_pass(std::span<const SequenceSpan> sequences) {
  pass_ = sequences;
  return overflow_ ? overflow_->begin_pass(sequences) : 0;
}

int32_t KvStore::micro_batches() const { return overflow_ ? overflow_->micro_batches() : 0; }

const KvLayerView& KvStore::layer(int32_t layer) const { return layers_[layer]; }

std::span<const SequenceSpan> KvStore::sequences() const {
  return overflow_ ? overflow_->sequences() : pass_;
}

void KvStore::fetch(int32_t layer, int32_t micro_batch) { overflow_->fetch(layer, micro_batch); }

double KvStore::wait(int32_t layer, int32_t micro_batch, Stream& stream, Unit& unit) {
  return overflow_->wait(layer, micro_batch, stream, unit);
}

void KvStore::release(const FetchTicket& ticket) { overflow_->release(ticket); }

void KvStore::end_pass() {
  if (overflow_) overflow_->end_pass();
}

int64_t KvStore::max_row_tokens() const {
  const int64_t blocks = overflow_ ? overflow_->slot_blocks() : std::numeric_limits<int32_t>::max();
  return blocks * layers_.front().block_tokens;
}

int64_t KvStore::bytes_read() const { return overflow_ ? overflow_->bytes_fetched() : 0; }

int64_t KvStore::bytes_written() const { return overflow_ ? overflow_->bytes_written() : 0; }

}  // namespace zerostream
