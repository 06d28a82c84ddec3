#include "offload/model_runtime.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <vector>

#include "offload/resident_weights.h"
#include "offload/schedule.h"
#include "prefetch/prefetcher.h"

namespace zerostream {
namespace {

MemoryRequest memory_request(const RuntimeOptions& options) {
  return {options.host_memory,   options.placement,    options.prefetch_depth,
          options.max_sequences, options.token_budget, options.block_tokens};
}

}  // namespace

// Members in the order of their making; each may use those above it, and goes before them.
struct ModelRuntime::State {
  const PackedStore& store;
  MemoryPlan plan;
  RunStatistics facts;  // what does not change while running
  File weights;
  std::optional<ResidentWeights> resident;
  std::optional<KvPool> kv;
  std::optional<KvBlocks> kv_blocks;
  std::optional<Prefetcher> prefetcher;
  std::optional<LayerScheduler> scheduler;

  explicit State(const PackedStore& packed_store) : store(packed_store) {}
  void load(Device& device, const RuntimeOptions& options);
  void start_streaming(Device& device, const RuntimeOptions& options, int64_t ring_bytes);
};

void ModelRuntime::State::load(Device& device, const RuntimeOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  weights = File::open(store.weights_path(), {.write = false, .direct = options.direct});
  if (options.direct && !weights.direct())
    facts.notes.push_back("direct I/O is not used for " + weights.path() + ": " +
                          weights.why_not_direct());
  std::string skipped;
  const std::unique_ptr<IoEngine> engine =
      make_io_engine(options.io_engine, options.queue_depth, &skipped);
  if (!skipped.empty()) facts.notes.push_back("I/O engines that are not available: " + skipped);
  facts.io_engine = engine->name();
  facts.io_direct = weights.direct();
  resident.emplace(store, weights, plan.resident, device, *engine);
  facts.resident_bytes = resident->bytes();
  facts.load_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void ModelRuntime::State::start_streaming(Device& device, const RuntimeOptions& options,
                                          int64_t ring_bytes) {
  PrefetcherOptions prefetch;
  prefetch.engine = options.io_engine;
  prefetch.transfer.block_size = options.block_size;
  prefetch.transfer.max_retries = options.max_retries;
  prefetch.queue_depth = options.queue_depth;
  prefetch.ring_bytes = ring_bytes;
  prefetch.prefetch_depth = plan.prefetch_depth;
  if (options.make_engine)
    prefetcher.emplace(device, prefetch, options.make_engine());
  else
    prefetcher.emplace(device, prefetch);
  facts.io_engine = prefetcher->engine_name();
  if (!prefetcher->notes().empty()) facts.notes.push_back(prefetcher->notes());
}

ModelRuntime::ModelRuntime(const PackedStore& store, Device& device, Kernels& kernels,
                           const RuntimeOptions& options)
    : state_(std::make_unique<State>(store)) {
  State& state = *state_;
  state.plan = plan_memory(store, memory_request(options));
  state.facts.pools = state.plan.pools;
  for (const Segment& segment : store.segments()) state.facts.weights_bytes += segment.bytes;
  state.load(device, options);
  state.kv.emplace(store.config(), store.layout().compute_dtype, options.block_tokens,
                   state.plan.kv_blocks, device);
  state.kv_blocks.emplace(state.plan.kv_blocks, options.block_tokens);

  Schedule schedule =
      make_schedule(store.segments(), {state.plan.resident, state.plan.prefetch_depth});
  state.facts.streamed_bytes_per_pass = schedule.streamed_bytes;
  if (schedule.streamed_bytes > 0) state.start_streaming(device, options, schedule.ring_bytes);
  const LayerSchedulerParts parts{&store,
                                  &state.weights,
                                  &*state.resident,
                                  &*state.kv,
                                  state.prefetcher ? &*state.prefetcher : nullptr,
                                  &device,
                                  &kernels};
  state.scheduler.emplace(parts, std::move(schedule), state.plan.token_budget,
                          state.plan.max_sequences);
}

ModelRuntime::~ModelRuntime() = default;

const PackedStore& ModelRuntime::store() const { return state_->store; }
const MemoryPlan& ModelRuntime::plan() const { return state_->plan; }
KvPool& ModelRuntime::kv() { return *state_->kv; }
KvBlocks& ModelRuntime::kv_blocks() { return *state_->kv_blocks; }
LayerScheduler& ModelRuntime::scheduler() { return *state_->scheduler; }

int64_t ModelRuntime::max_context() const {
  const int64_t tokens = state_->kv->num_blocks() * state_->kv->layers()->block_tokens;
  return std::min(tokens, state_->store.config().max_position_embeddings);
}

void ModelRuntime::update(RunStatistics& statistics) const {
  const RunStatistics& facts = state_->facts;
  if (statistics.pools.empty()) {
    statistics.pools = facts.pools;
    statistics.notes = facts.notes;
    statistics.io_engine = facts.io_engine;
    statistics.io_direct = facts.io_direct;
    statistics.load_seconds = facts.load_seconds;
    statistics.weights_bytes = facts.weights_bytes;
    statistics.resident_bytes = facts.resident_bytes;
    statistics.streamed_bytes_per_pass = facts.streamed_bytes_per_pass;
  }
  statistics.stall_weights_seconds = state_->scheduler->stall_seconds();
  statistics.flops = state_->scheduler->flops();
  if (!state_->prefetcher) return;
  const PrefetchCounters counters = state_->prefetcher->counters();
  statistics.bytes_read = counters.bytes_read;
  statistics.reading_seconds = counters.reading_seconds;
}

}  // namespace zerostream
