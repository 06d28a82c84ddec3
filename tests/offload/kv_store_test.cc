#include "offload/kv_store.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>

#include "cpu/cpu_device.h"
#include "nvme/faulty_engine.h"
#include "offload/schedule.h"
#include "tests/support/separate_memory_device.h"
#include "tests/support/temp_dir.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr int32_t kBlockTokens = 4;
constexpr int32_t kLayers = 3;

ModelConfig small_config() {
  ModelConfig config;
  config.num_hidden_layers = kLayers;
  config.num_key_value_heads = 2;
  config.head_dim = 8;
  return config;
}

// Where blocks rest that memory does not hold.
enum class Elsewhere : uint8_t { kStorage, kStorageBesideADevice, kHostBesideADevice };

// Rows whose "keys and values" are marks of row, layer and position, kept as a wave keeps them.
class KvStoreTest : public testing::TestWithParam<Elsewhere> {
 protected:
  KvStoreTest() {
    if (GetParam() == Elsewhere::kStorage)
      device_ = std::make_unique<CpuDevice>(CpuDeviceOptions{.threads = 1});
    else
      device_ = std::make_unique<SeparateMemoryDevice>();
    stream_ = device_->make_compute_stream();
  }
  struct Row {
    uint32_t id = 0;
    int32_t computed = 0;
    int32_t length = 0;
    std::vector<int32_t> blocks = {};
  };

  void make(int64_t blocks, int64_t memory_blocks, int64_t new_blocks,
            std::function<std::unique_ptr<IoEngine>()> engine = {}) {
    kv_.reset();
    blocks_ = std::make_unique<KvBlocks>(blocks, kBlockTokens);
    KvStoreOptions options;
    options.memory_blocks = memory_blocks;
    options.new_blocks = new_blocks;
    options.ring_bytes =
        KvStore::ring_bytes(small_config(), DType::kF32, kBlockTokens, kMostTokens, 1);
    options.on_host = GetParam() == Elsewhere::kHostBesideADevice;
    options.table_bytes = KvStore::table_bytes(8, kMostTokens, kBlockTokens);
    options.write_pinned_bytes = 2 * kTileBytes;  // of a block's three layers
    options.prefetch.pinned_bytes = 4 * kTileBytes;
    options.directory = folder_.path();
    options.make_engine = std::move(engine);
    kv_ = std::make_unique<KvStore>(small_config(), *blocks_, options, *device_);
  }

  static uint32_t mark(const Row& row, int32_t layer, int32_t position) {
    return row.id * 1000003 + static_cast<uint32_t>(layer) * 1009 + static_cast<uint32_t>(position);
  }
  static uint32_t* cell(const KvLayerView& view, int32_t block, int32_t within) {
    return reinterpret_cast<uint32_t*>(view.key(block, 0)) + within * 8;
  }

  // Tokens of each row in the next pass; takes their blocks.
  std::vector<SequenceSpan> compose(std::vector<Row>& rows, const std::vector<int32_t>& tokens) {
    std::vector<SequenceSpan> sequences;
    int32_t begin = 0;
    for (size_t i = 0; i < rows.size(); ++i) {
      Row& row = rows[i];
      if (tokens[i] == 0) continue;
      while (std::ssize(row.blocks) < blocks_->blocks_for(row.computed + tokens[i]))
        row.blocks.push_back(blocks_->take());
      sequences.push_back({begin, tokens[i], row.computed, row.blocks.data()});
      in_pass_.push_back(&row);
      begin += tokens[i];
    }
    return sequences;
  }

  void write(int32_t layer) {
    const KvLayerView& view = kv_->layer(layer);
    const std::span<const SequenceSpan> sequences = kv_->sequences();
    for (size_t s = 0; s < sequences.size(); ++s)
      for (int32_t i = 0; i < sequences[s].rows; ++i) {
        const int32_t position = sequences[s].position_begin + i;
        *cell(view, sequences[s].block_table[position / kBlockTokens], position % kBlockTokens) =
            mark(*in_pass_[s], layer, position);
      }
  }

  // Sequences of `part` are those of the pass from `first` on.
  void check(int32_t layer, std::span<const SequenceSpan> part, size_t first) {
    const KvLayerView& view = kv_->layer(layer);
    for (size_t s = 0; s < part.size(); ++s)
      for (int32_t p = 0; p < part[s].position_begin + part[s].rows; ++p)
        ASSERT_EQ(*cell(view, part[s].block_table[p / kBlockTokens], p % kBlockTokens),
                  mark(*in_pass_[first + s], layer, p))
            << "layer " << layer << " position " << p;
  }

  // A pass as the LayerScheduler does it.
  void run_pass(std::vector<Row>& rows, const std::vector<int32_t>& tokens) {
    in_pass_.clear();
    const std::vector<SequenceSpan> pass = compose(rows, tokens);
    kv_->begin_pass(pass);
    const int32_t parts = kv_->micro_batches();
    most_parts_ = std::max(most_parts_, parts);
    for (int unit = 0; unit < std::min(KvStore::kFetchDepth, parts * kLayers); ++unit)
      kv_->fetch(unit / parts, unit % parts);
    for (int32_t layer = 0; layer < kLayers; ++layer) {
      write(layer);
      if (parts == 0) check(layer, kv_->sequences(), 0);
      size_t first = 0;
      for (int32_t part = 0; part < parts; ++part) {
        const int next = layer * parts + part + KvStore::kFetchDepth;
        if (next < parts * kLayers) kv_->fetch(next / parts, next % parts);
        KvStore::Unit unit;
        kv_->wait(layer, part, *stream_, unit);
        stream_->synchronize();
        check(layer, unit.sequences, first);
        first += unit.sequences.size();
        kv_->release(unit.ticket);
      }
      if (parts > 0) {
        EXPECT_EQ(first, pass.size());
      }
    }
    kv_->end_pass();
    for (size_t s = 0; s < pass.size(); ++s) in_pass_[s]->computed += pass[s].rows;
  }

  static constexpr int32_t kMostTokens = 64;
  TempDir folder_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Stream> stream_;
  std::unique_ptr<KvBlocks> blocks_;
  std::unique_ptr<KvStore> kv_;
  std::vector<Row*> in_pass_;
  int32_t most_parts_ = 0;
};

TEST_P(KvStoreTest, EverythingInMemoryNeedsNoFile) {
  make(40, 40, 10);
  std::vector<Row> rows = {{.id = 1}, {.id = 2}};
  for (const int32_t tokens : {9, 1, 1, 1, 4}) run_pass(rows, {tokens, 1});
  EXPECT_EQ(most_parts_, 0);
  EXPECT_EQ(kv_->bytes_read() + kv_->bytes_written(), 0);
}

TEST_P(KvStoreTest, BlocksComeBack) {
  make(64, 16, 8);
  std::vector<Row> rows = {{.id = 1}, {.id = 2}, {.id = 3}};
  for (int pass = 0; pass < 50; ++pass) run_pass(rows, {1, 1, 1});
  EXPECT_GT(most_parts_, 0);
  EXPECT_GT(kv_->bytes_read(), kv_->bytes_written());
  EXPECT_GT(kv_->bytes_written(), 0);
}

// Rows come, grow by chunks of any size, and go; every attention finds what was written.
TEST_P(KvStoreTest, RandomRowsFindTheirKeysAndValues) {
  std::mt19937 random(11);
  for (int round = 0; round < 12; ++round) {
    const int32_t most_rows = 2 + static_cast<int32_t>(random() % 6);
    const int32_t budget = most_rows + static_cast<int32_t>(random() % 24);
    const int64_t new_blocks = most_rows + budget / kBlockTokens + 1;
    make(most_rows * kMostTokens / kBlockTokens, 3 * most_rows + 2 * (budget / kBlockTokens + 1),
         new_blocks);
    std::vector<Row> rows;
    uint32_t next_id = static_cast<uint32_t>(round) * 100;
    for (int pass = 0; pass < 80; ++pass) {
      std::erase_if(rows, [&](Row& row) {
        const bool ends = row.computed >= row.length;
        if (ends) blocks_->release(row.blocks);
        return ends;
      });
      while (std::ssize(rows) < most_rows)
        rows.push_back({.id = ++next_id, .length = 2 + static_cast<int32_t>(random() % 62)});
      int32_t left = budget - most_rows;
      std::vector<int32_t> tokens;
      for (const Row& row : rows) {
        const int32_t more = std::min<int32_t>(static_cast<int32_t>(random() % (left + 1)),
                                               row.length - row.computed - 1);
        left -= std::max(more, 0);
        tokens.push_back(1 + std::max(more, 0));
      }
      run_pass(rows, tokens);
      if (HasFatalFailure()) return;
    }
  }
  EXPECT_GT(most_parts_, 1);
}

TEST_P(KvStoreTest, FailedTransfersAreErrors) {
  if (GetParam() == Elsewhere::kHostBesideADevice) GTEST_SKIP() << "nothing is read or written";
  for (uint64_t seed = 0; seed < 8; ++seed) {
    make(64, 16, 8, [seed] {
      return make_faulty_engine(make_io_engine(IoEngineKind::kThreads, 4, nullptr),
                                {.seed = seed, .broken_probability = 0.1});
    });
    std::vector<Row> rows = {{.id = 1}, {.id = 2}, {.id = 3}};
    EXPECT_THROW(
        {
          for (int pass = 0; pass < 50; ++pass) run_pass(rows, {1, 1, 1});
        },
        IoError);
  }
}

std::string name_of(const testing::TestParamInfo<Elsewhere>& info) {
  if (info.param == Elsewhere::kStorage) return "Storage";
  return info.param == Elsewhere::kHostBesideADevice ? "HostBesideADevice" : "StorageBesideADevice";
}

INSTANTIATE_TEST_SUITE_P(Elsewhere, KvStoreTest,
                         testing::Values(Elsewhere::kStorage, Elsewhere::kStorageBesideADevice,
                                         Elsewhere::kHostBesideADevice),
                         name_of);

}  // namespace
}  // namespace zerostream
