#include "offload/model_runtime.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <vector>

#include "nvme/deadline_engine.h"
#include "offload/host_plan.h"
#include "offload/resident_weights.h"
#include "offload/schedule.h"
#include "prefetch/prefetcher.h"

namespace zerostream {
namespace {

PrefetcherOptions prefetcher_options(const RuntimeOptions& options) {
  PrefetcherOptions prefetch;
  prefetch.engine = options.io_engine;
  prefetch.transfer.block_size = options.block_size;
  prefetch.transfer.max_retries = options.max_retries;
  prefetch.queue_depth = options.queue_depth;
  prefetch.timeline = options.timeline;
  return prefetch;
}

std::unique_ptr<IoEngine> make_engine(const RuntimeOptions& options, std::string* skipped) {
  std::unique_ptr<IoEngine> engine =
      options.make_engine ? options.make_engine()
                          : make_io_engine(options.io_engine, options.queue_depth, skipped);
  if (options.io_timeout_seconds == 0) return engine;
  return make_deadline_engine(std::move(engine), options.io_timeout_seconds);
}

// Rows of tables are read one by one, and have no digest of their own.
void check_streamed_tables(const PackedStore& store, const ResidentWeights& resident,
                           const File& weights) {
  for (size_t i = 0; i < store.segments().size(); ++i) {
    const Segment& segment = store.segments()[i];
    const bool table = std::any_of(segment.matrices.begin(), segment.matrices.end(),
                                   [](const StoredMatrix& matrix) {
                                     return matrix.role == MatrixRole::kTokenEmbedding ||
                                            matrix.role == MatrixRole::kPositionEmbedding;
                                   });
    const auto index = static_cast<int32_t>(i);
    const bool streamed =
        resident.segment(index) == nullptr && resident.host_segment(index) == nullptr;
    if (table && streamed) store.verify_segment(segment, weights);
  }
}

}  // namespace

MemoryRequest memory_request(const RuntimeOptions& options, int64_t scratch_bytes) {
  MemoryRequest request;
  request.host_memory = options.device_memory.value_or(options.host_memory);
  request.own_memory = options.device_memory.has_value();
  request.placement = options.placement;
  request.kv_placement = options.kv_placement;
  request.kv_dtype = options.kv_dtype;
  request.kv_slot_bytes = options.kv_slot_bytes;
  request.prefetch_depth = options.prefetch_depth;
  request.max_sequences = options.max_sequences;
  request.token_budget = options.token_budget;
  request.block_tokens = options.block_tokens;
  request.scratch_bytes = scratch_bytes;
  request.workload = options.workload;
  return request;
}

// Members in the order of their making; each may use those above it, and goes before them.
struct ModelRuntime::State {
  const PackedStore& store;
  MemoryPlan plan;
  RunStatistics facts;  // what does not change while running
  File weights;
  std::optional<ResidentWeights> resident;
  std::optional<KvBlocks> kv_blocks;
  std::optional<KvStore> kv;
  std::optional<Prefetcher> prefetcher;
  std::optional<LayerScheduler> scheduler;

  explicit State(const PackedStore& packed_store) : store(packed_store) {}
  void load(Device& device, const RuntimeOptions& options);
  void make_kv(Device& device, const RuntimeOptions& options);
  void start_streaming(Device& device, const RuntimeOptions& options);
};

void ModelRuntime::State::load(Device& device, const RuntimeOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  weights = File::open(store.weights_path(), {.write = false, .direct = options.direct});
  if (options.direct && !weights.direct())
    facts.notes.push_back("direct I/O is not used for " + weights.path() + ": " +
                          weights.why_not_direct());
  std::string skipped;
  const std::unique_ptr<IoEngine> engine = make_engine(options, &skipped);
  if (!skipped.empty()) facts.notes.push_back("I/O engines that are not available: " + skipped);
  facts.io_engine = engine->name();
  facts.io_direct = weights.direct();
  resident.emplace(store, weights, plan.resident, plan.on_host, device, *engine,
                   prefetcher_options(options).transfer);
  check_streamed_tables(store, *resident, weights);
  facts.resident_bytes = resident->bytes();
  facts.host_bytes = resident->host_bytes();
  facts.load_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void ModelRuntime::State::make_kv(Device& device, const RuntimeOptions& options) {
  kv_blocks.emplace(plan.kv_blocks, options.block_tokens);
  KvStoreOptions kv_options;
  kv_options.dtype = plan.kv_dtype;
  kv_options.memory_blocks = plan.kv_memory_blocks;
  kv_options.on_host = plan.kv_on_host;
  kv_options.ring_bytes = plan.kv_ring_bytes;
  kv_options.table_bytes = plan.kv_table_bytes;
  kv_options.write_pinned_bytes = plan.kv_write_pinned_bytes;
  kv_options.new_blocks = plan.max_sequences + kv_blocks->blocks_for(plan.token_budget);
  kv_options.directory = options.kv_directory.empty() ? store.path() : options.kv_directory;
  kv_options.direct = options.direct;
  kv_options.prefetch = prefetcher_options(options);
  kv_options.prefetch.pinned_bytes = plan.kv_read_pinned_bytes;
  kv_options.make_engine = [&options] { return make_engine(options, nullptr); };
  kv.emplace(store.config(), *kv_blocks, kv_options, device);
}

void ModelRuntime::State::start_streaming(Device& device, const RuntimeOptions& options) {
  PrefetcherOptions prefetch = prefetcher_options(options);
  prefetch.ring_bytes = std::max(plan.ring_bytes, kTileBytes);  // embedding rows need no slot
  prefetch.prefetch_depth = plan.prefetch_depth;
  prefetch.pinned_bytes = staging_bytes(prefetch.ring_bytes);
  prefetcher.emplace(device, prefetch, make_engine(options, nullptr));
  facts.io_engine = prefetcher->engine_name();
  if (!prefetcher->notes().empty()) facts.notes.push_back(prefetcher->notes());
}

ModelRuntime::ModelRuntime(const PackedStore& store, Device& device, Kernels& kernels,
                           const RuntimeOptions& options)
    : state_(std::make_unique<State>(store)) {
  State& state = *state_;
  state.plan = options.plan ? *options.plan
                            : plan_run_memory(store.layout(),
                                              memory_request(options, device.scratch_bytes()),
                                              options.host_memory);
  state.facts.pools = state.plan.pools;
  state.facts.host_pools = state.plan.host_pools;
  state.facts.own_memory = !device.shares_host_memory();
  state.facts.weights_bytes = store.layout().weights_bytes();
  state.load(device, options);
  state.make_kv(device, options);

  const std::vector<bool>& resident = state.plan.resident;
  const ScheduleOptions schedule{.resident = resident,
                                 .prefetch_depth = state.plan.prefetch_depth,
                                 .kv_micro_batches = 0,
                                 .kv_depth = KvStore::kFetchDepth};
  state.facts.streamed_bytes_per_pass = make_schedule(store.segments(), schedule).streamed_bytes;
  if (std::find(resident.begin(), resident.end(), false) != resident.end())
    state.start_streaming(device, options);
  const LayerSchedulerParts parts{&store,
                                  &state.weights,
                                  &*state.resident,
                                  &*state.kv,
                                  state.prefetcher ? &*state.prefetcher : nullptr,
                                  &device,
                                  &kernels,
                                  options.int8_activations,
                                  state.plan.array_bytes,
                                  options.timeline};
  state.scheduler.emplace(parts, schedule, state.plan.token_budget, state.plan.logit_rows);
}

ModelRuntime::~ModelRuntime() = default;

const PackedStore& ModelRuntime::store() const { return state_->store; }
const MemoryPlan& ModelRuntime::plan() const { return state_->plan; }
KvStore& ModelRuntime::kv() { return *state_->kv; }
KvBlocks& ModelRuntime::kv_blocks() { return *state_->kv_blocks; }
LayerScheduler& ModelRuntime::scheduler() { return *state_->scheduler; }

int64_t ModelRuntime::max_context() const {
  const KvBlocks& blocks = *state_->kv_blocks;
  return std::min({blocks.num_blocks() * blocks.block_tokens(), state_->kv->max_row_tokens(),
                   state_->store.config().max_position_embeddings});
}

void ModelRuntime::update(RunStatistics& statistics) const {
  const RunStatistics& facts = state_->facts;
  if (statistics.pools.empty()) {
    statistics.pools = facts.pools;
    statistics.host_pools = facts.host_pools;
    statistics.own_memory = facts.own_memory;
    statistics.notes = facts.notes;
    statistics.io_engine = facts.io_engine;
    statistics.io_direct = facts.io_direct;
    statistics.load_seconds = facts.load_seconds;
    statistics.weights_bytes = facts.weights_bytes;
    statistics.resident_bytes = facts.resident_bytes;
    statistics.host_bytes = facts.host_bytes;
    statistics.streamed_bytes_per_pass = facts.streamed_bytes_per_pass;
  }
  statistics.stall_weights_seconds = state_->scheduler->stall_seconds();
  statistics.stall_kv_seconds = state_->scheduler->kv_stall_seconds();
  statistics.kv_bytes_read = state_->kv->bytes_read();
  statistics.kv_bytes_written = state_->kv->bytes_written();
  statistics.flops = state_->scheduler->flops();
  if (!state_->prefetcher) return;
  const PrefetchCounters counters = state_->prefetcher->counters();
  statistics.bytes_read = counters.bytes_read;
  statistics.reading_seconds = counters.reading_seconds;
}

}  // namespace zerostream
