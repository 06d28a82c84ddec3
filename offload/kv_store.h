// Keys and values: the memory of their blocks, and the way to where others rest and back.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/device.h"
#include "base/kernels.h"
#include "model/config.h"
#include "nvme/io_engine.h"
#include "offload/kv_blocks.h"
#include "prefetch/prefetcher.h"

namespace zerostream {

class KvOverflow;

struct KvStoreOptions {
  DType dtype = DType::kF32;
  int64_t memory_blocks = 0;  // of KvBlocks::num_blocks(); fewer: the others rest elsewhere
  // Below: only where blocks rest elsewhere.
  bool on_host = false;    // in pinned memory, beside a device with memory of its own; else storage
  int64_t ring_bytes = 0;  // device memory for blocks that come back, see KvStore::ring_bytes()
  int64_t new_blocks = 0;  // most blocks that a pass begins
  // On a device with memory of its own: see KvStore::table_bytes(); and of pinned memory that
  // blocks pass through on their way to storage, at least one block of a layer.
  int64_t table_bytes = 0, write_pinned_bytes = 0;
  std::string directory;            // where the file is made; it has no name there
  bool direct = true;               // O_DIRECT where the file system has it
  PrefetcherOptions prefetch = {};  // engine, queue depth, timeline
  std::function<std::unique_ptr<IoEngine>()> make_engine;  // instead of prefetch.engine
};

// Memory for blocks of KvBlocks, layer by layer, and a place elsewhere for what it cannot hold: a
// file, or host memory beside a device with memory of its own. A block of a layer is padded to 4
// KiB. Where everything is in memory, block numbers are indices of that memory, and the members
// about passes do next to nothing.
//
// Else a pass's sequences are cut into micro-batches, whose blocks from elsewhere fit a slot
// together: unit (layer, micro-batch) is fetched into a slot and attended there. Blocks that rows
// write are in memory; full ones are written behind, while the next pass runs.
//
// Threads: one; release() from any. Errors: IoError of the file, DeviceError of copies;
// InfeasibleError when the file or pinned memory cannot be as large as it must be.
class KvStore {
 public:
  // Bytes of one block over all layers.
  static int64_t block_bytes(const ModelConfig& config, DType dtype, int32_t block_tokens);
  // Device memory for slots of `slot_bytes`, or more so that rows of `longest_row` tokens can be
  // served.
  static int64_t ring_bytes(const ModelConfig& config, DType dtype, int32_t block_tokens,
                            int64_t longest_row, int64_t slot_bytes);
  // Memory for tables of units, of a device that has its own, and as much pinned memory.
  static int64_t table_bytes(int64_t max_sequences, int64_t longest_row, int32_t block_tokens);
  // KV fetches ahead of the one in use.
  static constexpr int32_t kFetchDepth = 2;
  // Slots of the largest size: those in flight, the one in use, and what is lost at the ring's end.
  static constexpr int32_t kRingSlots = kFetchDepth + 2;

  // References outlive this.
  KvStore(const ModelConfig& config, const KvBlocks& blocks, const KvStoreOptions& options,
          Device& device);
  ~KvStore();

  // Makes ready what the pass writes. Returns the seconds for which it had to wait until blocks
  // were written elsewhere. The sequences stay as they are until end_pass().
  double begin_pass(std::span<const SequenceSpan> sequences);
  // Of the pass; 0: all blocks are in memory.
  int32_t micro_batches() const;
  const KvLayerView& layer(int32_t layer) const;
  // All sequences of the pass, with tables for layer(): for writing, and for attention where
  // micro_batches() is 0.
  std::span<const SequenceSpan> sequences() const;

  // Starts the fetch of a unit; units come in the order of Schedule.
  void fetch(int32_t layer, int32_t micro_batch);
  struct Unit {
    // For kernels of the stream, with tables for layer(); valid until released.
    std::span<const SequenceSpan> sequences;
    FetchTicket ticket;  // to be given to release()
  };
  // Waits for a unit; work that `stream` gets afterwards finds it on the device. Returns the
  // seconds that the caller was blocked.
  double wait(int32_t layer, int32_t micro_batch, Stream& stream, Unit& unit);
  // The unit's last reader is done. Any thread.
  void release(const FetchTicket& ticket);

  // The pass is done: sends what it filled elsewhere, if the next pass may need its memory.
  void end_pass();

  // The longest row that can be served, as far as slots limit it.
  int64_t max_row_tokens() const;
  // From where blocks rest that memory does not hold, and to there.
  int64_t bytes_read() const;
  int64_t bytes_written() const;

 private:
  std::span<const SequenceSpan> pass_;
  Buffer memory_;  // blocks of all layers, then slots
  std::vector<KvLayerView> layers_;
  std::unique_ptr<KvOverflow> overflow_;  // null: everything is in memory
};

}  // namespace zerostream
