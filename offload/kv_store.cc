#include "offload/kv_store.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <deque>
#include <filesystem>
#include <limits>
#include <optional>

#include "base/require.h"
#include "offload/kv_slots.h"
#include "prefetch/background_writer.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

// Slots of the largest size: those in flight, the one in use, and what is lost at the ring's end.
constexpr int64_t kRingSlots = KvStore::kFetchDepth + 2;

int64_t layer_block_bytes(const ModelConfig& config, DType dtype, int32_t block_tokens) {
  return round_up(
      KvLayerView::content_bytes(dtype, block_tokens, config.num_key_value_heads, config.head_dim),
      kTileBytes);
}

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

}  // namespace

// What only a KV cache with storage has.
struct KvStore::Storage {
  // A run of the pass's sequences, and what of their blocks comes from storage, in file order.
  struct MicroBatch {
    size_t begin = 0, end = 0;
    int64_t blocks = 0;
    std::vector<FilePiece> pieces;
  };
  // Tables of a unit while it is attended.
  struct Tables {
    std::vector<int32_t> entries;
    std::vector<SequenceSpan> sequences;
  };

  Storage(const KvBlocks& kv_blocks, const KvStoreOptions& options,
          const std::vector<KvLayerView>& views, std::byte* ring, Device& device)
      : blocks(kv_blocks),
        layers(views),
        block_bytes(views.front().block_bytes),
        slot_blocks(options.ring_bytes / kRingSlots / block_bytes),
        new_blocks(options.new_blocks),
        slots(kv_blocks, options.memory_blocks),
        file(make_nameless_file(options.directory,
                                block_bytes * kv_blocks.num_blocks() * std::ssize(views),
                                options.direct)),
        writer(make_engine(options), options.prefetch.transfer, options.prefetch.timeline),
        marks(kv_blocks.num_blocks(), 0),
        places(kv_blocks.num_blocks(), 0) {
    PrefetcherOptions prefetch = options.prefetch;
    prefetch.ring_bytes = options.ring_bytes;
    prefetch.ring_memory = ring;
    prefetch.prefetch_depth = kFetchDepth;
    prefetch.read_track = Track::kKvRead;
    prefetcher.emplace(device, prefetch, make_engine(options));
  }

  static std::unique_ptr<IoEngine> make_engine(const KvStoreOptions& options) {
    if (options.make_engine) return options.make_engine();
    return make_io_engine(options.prefetch.engine, options.prefetch.queue_depth, nullptr);
  }

  double begin(std::span<const SequenceSpan> pass) {
    collect();
    double waited = 0;
    while (!slots.claim(pass)) {
      spill();
      waited += writer.wait();
      collect();
    }
    make_slot_tables(pass);
    cut(pass);
    return waited;
  }

  void collect() {
    tags.clear();
    writer.collect(tags);
    for (const int64_t tag : tags) slots.written(static_cast<int32_t>(tag));
  }

  void spill() {
    const int64_t num_layers = std::ssize(layers);
    for (const int32_t block : slots.choose_spills(new_blocks))
      writer.submit({.tag = block,
                     .file = &file,
                     .offset = block * block_bytes,
                     .offset_stride = blocks.num_blocks() * block_bytes,
                     .data = layers.front().base + slots.slot(block) * block_bytes,
                     .data_stride = slots.num_slots() * block_bytes,
                     .bytes = block_bytes,
                     .count = static_cast<int32_t>(num_layers)});
  }

  int64_t table_size(const SequenceSpan& sequence) const {
    return blocks.blocks_for(sequence.position_begin + sequence.rows);
  }

  // Tables of slots; blocks on storage have none.
  void make_slot_tables(std::span<const SequenceSpan> pass) {
    fill_tables(pass, slot_tables, [this](int32_t block) { return slots.slot(block); });
  }

  template <typename Index>
  void fill_tables(std::span<const SequenceSpan> from, Tables& to, Index index) const {
    to.entries.clear();
    to.sequences.clear();
    size_t entries = 0;
    for (const SequenceSpan& sequence : from) entries += table_size(sequence);
    to.entries.reserve(entries);  // so that tables keep their address
    for (SequenceSpan sequence : from) {
      const int32_t* table = to.entries.data() + to.entries.size();
      for (int64_t i = 0; i < table_size(sequence); ++i)
        to.entries.push_back(index(sequence.block_table[i]));
      sequence.block_table = table;
      to.sequences.push_back(sequence);
    }
  }

  // Cuts the pass into micro-batches, each with as many sequences as a slot has room for.
  void cut(std::span<const SequenceSpan> pass) {
    num_micro_batches = 0;
    size_t begin = 0;
    while (begin < pass.size()) {
      const size_t end = take_sequences(pass, begin);
      if (!wanted.empty()) add_micro_batch(begin, end);
      begin = end;
    }
    if (num_micro_batches == 0) return;
    micro_batches[0].begin = 0;  // sequences without blocks from storage go along
    for (int32_t i = 0; i + 1 < num_micro_batches; ++i)
      micro_batches[i].end = micro_batches[i + 1].begin;
    micro_batches[num_micro_batches - 1].end = pass.size();
  }

  // Collects in `wanted` the blocks that sequences from `begin` on have on storage, each once,
  // until a slot is full; the end of those sequences.
  size_t take_sequences(std::span<const SequenceSpan> pass, size_t begin) {
    ++mark;
    wanted.clear();
    size_t index = begin;
    for (; index < pass.size(); ++index) {
      const size_t before = wanted.size();
      for (int64_t i = 0; i < table_size(pass[index]); ++i) {
        const int32_t block = pass[index].block_table[i];
        if (slots.slot(block) >= 0 || marks[block] == mark) continue;
        marks[block] = mark;
        wanted.push_back(block);
      }
      if (std::ssize(wanted) <= slot_blocks) continue;
      require(index > begin, "one row's keys and values of a layer fit a slot");
      wanted.resize(before);
      break;
    }
    return index;
  }

  void add_micro_batch(size_t begin, size_t end) {
    if (num_micro_batches == std::ssize(micro_batches)) micro_batches.emplace_back();
    MicroBatch& batch = micro_batches[num_micro_batches++];
    batch.begin = begin;
    batch.end = end;
    batch.blocks = std::ssize(wanted);
    batch.pieces.clear();
    std::sort(wanted.begin(), wanted.end());
    for (size_t i = 0; i < wanted.size(); ++i) {
      if (i > 0 && wanted[i] == wanted[i - 1] + 1)
        batch.pieces.back().bytes += block_bytes;
      else
        batch.pieces.push_back({wanted[i] * block_bytes, block_bytes});
    }
  }

  void fetch(int32_t layer, int32_t micro_batch) {
    const MicroBatch& batch = micro_batches[micro_batch];
    tickets.push_back(prefetcher->submit({.file = &file,
                                          .offset = layer * blocks.num_blocks() * block_bytes,
                                          .bytes = batch.blocks * block_bytes,
                                          .pieces = batch.pieces,
                                          .name = "KV"}));
  }

  // Where in its slot each block of a micro-batch lies.
  void number_blocks(const MicroBatch& batch) {
    int32_t index = 0;
    for (const FilePiece& piece : batch.pieces)
      for (int64_t at = piece.offset; at < piece.offset + piece.bytes; at += block_bytes)
        places[at / block_bytes] = index++;
  }

  std::span<const SequenceSpan> unit_tables(std::span<const SequenceSpan> pass, int32_t layer,
                                            int32_t micro_batch, const std::byte* data) {
    const MicroBatch& batch = micro_batches[micro_batch];
    number_blocks(batch);
    const auto first = static_cast<int32_t>((data - layers[layer].base) / block_bytes);
    Tables& tables = unit_ring[next_unit++ % unit_ring.size()];
    fill_tables(pass.subspan(batch.begin, batch.end - batch.begin), tables,
                [this, first](int32_t block) {
                  const int32_t slot = slots.slot(block);
                  return slot >= 0 ? slot : first + places[block];
                });
    return tables.sequences;
  }

  const KvBlocks& blocks;
  const std::vector<KvLayerView>& layers;
  const int64_t block_bytes;  // of one layer
  const int64_t slot_blocks;  // that a micro-batch may fetch
  const int64_t new_blocks;
  KvSlots slots;
  File file;
  BackgroundWriter writer;
  std::vector<int64_t> tags;
  Tables slot_tables;
  std::vector<MicroBatch>
      micro_batches;  // kept for their memory; the first num_micro_batches count
  int32_t num_micro_batches = 0;
  std::vector<int32_t> wanted;
  std::vector<int64_t> marks;  // by block: the last micro-batch that wanted it
  int64_t mark = 0;
  std::vector<int32_t> places;  // by block: where in its unit's slot it lies
  std::array<Tables, kFetchDepth + 2> unit_ring;
  size_t next_unit = 0;
  std::deque<FetchTicket> tickets;       // of units that were not waited for, in order
  std::optional<Prefetcher> prefetcher;  // last: its thread reads the pieces of micro-batches
};

int64_t KvStore::block_bytes(const ModelConfig& config, DType dtype, int32_t block_tokens) {
  return layer_block_bytes(config, dtype, block_tokens) * config.num_hidden_layers;
}

int64_t KvStore::ring_bytes(const ModelConfig& config, DType dtype, int32_t block_tokens,
                            int64_t longest_row, int64_t slot_bytes) {
  const int64_t bytes = layer_block_bytes(config, dtype, block_tokens);
  const int64_t row = ceil_div(longest_row, block_tokens) * bytes;
  return kRingSlots * round_up(std::max(row, slot_bytes), bytes);
}

KvStore::KvStore(const ModelConfig& config, const KvBlocks& blocks, const KvStoreOptions& options,
                 Device& device) {
  const int64_t bytes = layer_block_bytes(config, options.dtype, blocks.block_tokens());
  const int64_t pool_bytes = bytes * options.memory_blocks * config.num_hidden_layers;
  const bool has_storage = options.memory_blocks < blocks.num_blocks();
  memory_ = device.allocate(pool_bytes + (has_storage ? options.ring_bytes : 0));
  for (int32_t layer = 0; layer < config.num_hidden_layers; ++layer)
    layers_.push_back({memory_.data() + layer * options.memory_blocks * bytes, options.dtype, bytes,
                       blocks.block_tokens(), config.num_key_value_heads, config.head_dim});
  if (has_storage)
    storage_ =
        std::make_unique<Storage>(blocks, options, layers_, memory_.data() + pool_bytes, device);
}

KvStore::~KvStore() = default;

double KvStore::begin_pass(std::span<const SequenceSpan> sequences) {
  pass_ = sequences;
  return storage_ ? storage_->begin(sequences) : 0;
}

int32_t KvStore::micro_batches() const { return storage_ ? storage_->num_micro_batches : 0; }

const KvLayerView& KvStore::layer(int32_t layer) const { return layers_[layer]; }

std::span<const SequenceSpan> KvStore::sequences() const {
  return storage_ ? storage_->slot_tables.sequences : pass_;
}

void KvStore::fetch(int32_t layer, int32_t micro_batch) { storage_->fetch(layer, micro_batch); }

double KvStore::wait(int32_t layer, int32_t micro_batch, Unit& unit) {
  unit.ticket = std::move(storage_->tickets.front());
  storage_->tickets.pop_front();
  const double seconds = unit.ticket->wait();
  unit.sequences = storage_->unit_tables(pass_, layer, micro_batch, unit.ticket->data());
  return seconds;
}

void KvStore::release(const FetchTicket& ticket) { storage_->prefetcher->release(ticket); }

void KvStore::end_pass() {
  if (!storage_) return;
  storage_->slots.filled(pass_);
  storage_->spill();
}

int64_t KvStore::max_row_tokens() const {
  const int64_t blocks = storage_ ? storage_->slot_blocks : std::numeric_limits<int32_t>::max();
  return blocks * layers_.front().block_tokens;
}

int64_t KvStore::bytes_read() const {
  return storage_ ? storage_->prefetcher->counters().bytes_read : 0;
}

int64_t KvStore::bytes_written() const { return storage_ ? storage_->writer.bytes_written() : 0; }

}  // namespace zerostream
