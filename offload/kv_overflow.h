// What of keys and values memory cannot hold.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "base/device.h"
#include "base/kernels.h"
#include "nvme/file.h"
#include "offload/device_arrays.h"
#include "offload/kv_blocks.h"
#include "offload/kv_micro_batches.h"
#include "offload/kv_slots.h"
#include "offload/kv_store.h"
#include "prefetch/background_writer.h"
#include "prefetch/prefetcher.h"

namespace zerostream {

// Sequences of a pass with tables of other numbers for their blocks.
struct KvTables {
  std::vector<int32_t> entries;
  std::vector<SequenceSpan> sequences;

  // index(block): the number in the tables. They keep their address until the next fill().
  template <typename Index>
  void fill(std::span<const SequenceSpan> from, const KvBlocks& blocks, const Index& index) {
    const auto size = [&](const SequenceSpan& sequence) {
      return blocks.blocks_for(sequence.position_begin + sequence.rows);
    };
    size_t needed = 0;
    for (const SequenceSpan& sequence : from) needed += size(sequence);
    entries.clear();
    entries.reserve(needed);
    sequences.clear();
    for (SequenceSpan sequence : from) {
      const int32_t* table = entries.data() + entries.size();
      for (int64_t i = 0; i < size(sequence); ++i)
        entries.push_back(index(sequence.block_table[i]));
      sequence.block_table = table;
      sequences.push_back(sequence);
    }
  }
};

// The blocks of a KvStore that its memory has no slot for. Every block has a place in a file or,
// beside a device with memory of its own, in pinned host memory; layer by layer, the blocks of a
// layer side by side. See KvStore for the rest of the contract.
class KvOverflow {
 public:
  // References outlive this. `layers`: slots of memory; `ring`: options.ring_bytes of the same
  // buffer, behind them.
  KvOverflow(const KvBlocks& blocks, const KvStoreOptions& options,
             const std::vector<KvLayerView>& layers, std::byte* ring, Device& device);

  double begin_pass(std::span<const SequenceSpan> pass);
  int32_t micro_batches() const { return batches_.count(); }
  // Of the pass, with slots in their tables; a block that has none is -1.
  std::span<const SequenceSpan> sequences() const { return slot_tables_.sequences; }
  void fetch(int32_t layer, int32_t micro_batch);
  double wait(int32_t layer, int32_t micro_batch, Stream& stream, KvStore::Unit& unit);
  void release(const FetchTicket& ticket) { prefetcher_->release(ticket); }
  void end_pass();

  int64_t slot_blocks() const { return slot_blocks_; }
  int64_t bytes_fetched() const { return bytes_fetched_; }
  int64_t bytes_written() const { return writer_.bytes_written(); }

 private:
  // Of a unit while it is attended.
  struct UnitTables {
    KvTables tables;
    DeviceArrays arrays;
  };
  void collect();
  void spill();
  UnitTables& fill_unit_tables(int32_t layer, int32_t micro_batch, const std::byte* data);

  const KvBlocks& blocks_;
  const std::vector<KvLayerView>& layers_;
  const int64_t block_bytes_;  // of one layer
  const int64_t slot_blocks_;  // that a micro-batch may fetch
  const int64_t new_blocks_;
  KvSlots slots_;
  KvMicroBatches batches_;
  std::span<const SequenceSpan> pass_;
  KvTables slot_tables_;
  std::vector<UnitTables> unit_ring_;
  size_t next_unit_ = 0;
  // Where blocks have their places: one of the two.
  Buffer host_;
  File file_;
  BackgroundWriter writer_;
  std::vector<int64_t> tags_;
  std::deque<FetchTicket> tickets_;  // of units that were not waited for, in order
  int64_t bytes_fetched_ = 0;
  std::unique_ptr<Prefetcher> prefetcher_;  // last: its thread reads the pieces of micro-batches
};

}  // namespace zerostream
