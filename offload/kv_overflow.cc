#include "offload/kv_overflow.h"

#include <unistd.h>

#include <filesystem>
#include <string>

#include "zerostream/error.h"

namespace zerostream {
namespace {

// Units whose tables may still be read: those that hold a slot, and the next.
constexpr int64_t kUnitTables = KvStore::kRingSlots;

File make_nameless_file(const std::string& directory, int64_t bytes, bool direct) {
  std::error_code ignored;  // then the file cannot be opened
  std::filesystem::create_directories(directory, ignored);
  const std::string path =
      (std::filesystem::path(directory) / ("kv-" + std::to_string(getpid()) + ".tmp")).string();
  File file;
  try {
    file = File::open(path, {.write = true, .direct = direct});
  } catch (const IoError& error) {
    throw IoError(std::string("keys and values (kv_cache.directory): ") + error.what(),
                  error.error_number());
  }
  std::filesystem::remove(path, ignored);
  file.allocate(bytes);
  return file;
}

std::unique_ptr<IoEngine> make_engine(const KvStoreOptions& options) {
  if (options.make_engine) return options.make_engine();
  return make_io_engine(options.prefetch.engine, options.prefetch.queue_depth, nullptr);
}

WriterOptions writer_options(const KvStoreOptions& options, int64_t block_bytes, Device& device) {
  return {.transfer = options.prefetch.transfer,
          .timeline = options.prefetch.timeline,
          .device = &device,
          .pinned_bytes = options.write_pinned_bytes,
          .run_bytes = block_bytes};
}

}  // namespace

KvOverflow::KvOverflow(const KvBlocks& blocks, const KvStoreOptions& options,
                       const std::vector<KvLayerView>& layers, std::byte* ring, Device& device)
    : blocks_(blocks),
      layers_(layers),
      block_bytes_(layers.front().block_bytes),
      slot_blocks_(options.ring_bytes / KvStore::kRingSlots / block_bytes_),
      new_blocks_(options.new_blocks),
      slots_(blocks, options.memory_blocks),
      batches_(blocks, slots_, block_bytes_, slot_blocks_),
      writer_(make_engine(options), writer_options(options, block_bytes_, device)) {
  const int64_t bytes = block_bytes_ * blocks.num_blocks() * std::ssize(layers);
  if (options.on_host)
    host_ = device.allocate_pinned(bytes);
  else
    file_ = make_nameless_file(options.directory, bytes, options.direct);
  unit_ring_.reserve(kUnitTables);
  for (int64_t i = 0; i < kUnitTables; ++i)
    unit_ring_.push_back({{}, DeviceArrays(device, options.table_bytes / kUnitTables)});
  PrefetcherOptions prefetch = options.prefetch;
  prefetch.ring_bytes = options.ring_bytes;
  prefetch.ring_memory = ring;
  prefetch.prefetch_depth = KvStore::kFetchDepth;
  prefetch.read_track = Track::kKvRead;
  prefetcher_ = std::make_unique<Prefetcher>(device, prefetch, make_engine(options));
}

double KvOverflow::begin_pass(std::span<const SequenceSpan> pass) {
  pass_ = pass;
  collect();
  double waited = 0;
  while (!slots_.claim(pass)) {
    spill();
    waited += writer_.wait();
    collect();
  }
  slot_tables_.fill(pass, blocks_, [this](int32_t block) { return slots_.slot(block); });
  batches_.cut(pass);
  return waited;
}

void KvOverflow::end_pass() {
  slots_.filled(pass_);
  spill();
}

void KvOverflow::collect() {
  tags_.clear();
  writer_.collect(tags_);
  for (const int64_t tag : tags_) slots_.written(static_cast<int32_t>(tag));
}

void KvOverflow::spill() {
  for (const int32_t block : slots_.choose_spills(new_blocks_))
    writer_.submit({.tag = block,
                    .file = &file_,
                    .target = host_.data(),
                    .offset = block * block_bytes_,
                    .offset_stride = blocks_.num_blocks() * block_bytes_,
                    .data = layers_.front().base + slots_.slot(block) * block_bytes_,
                    .data_stride = slots_.num_slots() * block_bytes_,
                    .bytes = block_bytes_,
                    .count = static_cast<int32_t>(layers_.size())});
}

void KvOverflow::fetch(int32_t layer, int32_t micro_batch) {
  const KvMicroBatch& batch = batches_[micro_batch];
  const int64_t offset = layer * blocks_.num_blocks() * block_bytes_;
  const int64_t bytes = batch.blocks * block_bytes_;
  tickets_.push_back(
      prefetcher_->submit({.file = &file_,
                           .offset = offset,
                           .bytes = bytes,
                           .pieces = batch.pieces,
                           .source = host_.data() != nullptr ? host_.data() + offset : nullptr,
                           .name = "KV"}));
  bytes_fetched_ += bytes;
}

double KvOverflow::wait(int32_t layer, int32_t micro_batch, Stream& stream, KvStore::Unit& unit) {
  unit.ticket = std::move(tickets_.front());
  tickets_.pop_front();
  const double seconds = unit.ticket->wait();
  UnitTables& unit_tables = fill_unit_tables(layer, micro_batch, unit.ticket->data());
  const std::span<const SequenceSpan> tables = unit_tables.tables.sequences;
  DeviceArrays& arrays = unit_tables.arrays;
  arrays.begin(DeviceArrays::sequence_bytes(tables, blocks_.block_tokens()));
  unit.sequences = arrays.put(tables, blocks_.block_tokens());
  arrays.upload(stream);
  if (Event* ready = unit.ticket->ready_event()) stream.wait(*ready);
  return seconds;
}

// A unit that holds a slot is at most kFetchDepth behind the newest that does, so the tables of the
// one whose place in the ring this takes are read no more.
KvOverflow::UnitTables& KvOverflow::fill_unit_tables(int32_t layer, int32_t micro_batch,
                                                     const std::byte* data) {
  const KvMicroBatch& batch = batches_[micro_batch];
  batches_.number_blocks(micro_batch);
  const auto first = static_cast<int32_t>((data - layers_[layer].base) / block_bytes_);
  UnitTables& unit = unit_ring_[next_unit_++ % unit_ring_.size()];
  unit.tables.fill(pass_.subspan(batch.begin, batch.end - batch.begin), blocks_,
                   [this, first](int32_t block) {
                     const int32_t slot = slots_.slot(block);
                     return slot >= 0 ? slot : first + batches_.place(block);
                   });
  return unit;
}

}  // namespace zerostream
