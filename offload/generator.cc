#include "offload/generator.h"

#include <chrono>
#include <optional>

#include "base/require.h"
#include "offload/kv_pool.h"
#include "offload/layer_scheduler.h"
#include "offload/memory_plan.h"
#include "offload/resident_weights.h"
#include "offload/schedule.h"
#include "offload/wave.h"

namespace zerostream {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

MemoryRequest memory_request(const GeneratorOptions& options) {
  return {options.host_memory,   options.placement,    options.prefetch_depth,
          options.max_sequences, options.token_budget, options.block_tokens};
}

}  // namespace

// Members in the order of their making; each may use those above it, and goes before them.
struct Generator::State {
  const PackedStore& store;
  const Tokenizer* tokenizer;
  MemoryPlan plan;
  RunStatistics statistics;
  File weights;
  std::optional<ResidentWeights> resident;
  std::optional<KvPool> kv;
  std::optional<Prefetcher> prefetcher;
  std::optional<LayerScheduler> scheduler;
  WaveLimits limits;
  PassBatch batch;
  std::vector<SampleRow> sample_rows;
  std::vector<SampleResult> sample_results;

  State(const PackedStore& packed_store, const Tokenizer* row_tokenizer)
      : store(packed_store), tokenizer(row_tokenizer) {}

  void load(Device& device, const GeneratorOptions& options);
  void start_streaming(Device& device, const GeneratorOptions& options, const Schedule& schedule);
  void run_pass(Wave& wave, const GenerationClient& client);
};

void Generator::State::load(Device& device, const GeneratorOptions& options) {
  const Clock::time_point start = Clock::now();
  weights = File::open(store.weights_path(), {.write = false, .direct = options.direct});
  if (options.direct && !weights.direct())
    statistics.notes.push_back("direct I/O is not used for " + weights.path() + ": " +
                               weights.why_not_direct());
  std::string skipped;
  const std::unique_ptr<IoEngine> engine =
      make_io_engine(options.io_engine, options.queue_depth, &skipped);
  if (!skipped.empty())
    statistics.notes.push_back("I/O engines that are not available: " + skipped);
  statistics.io_engine = engine->name();
  statistics.io_direct = weights.direct();
  resident.emplace(store, weights, plan.resident, device, *engine);
  statistics.load_seconds = seconds_since(start);
  statistics.resident_bytes = resident->bytes();
}

void Generator::State::start_streaming(Device& device, const GeneratorOptions& options,
                                       const Schedule& schedule) {
  PrefetcherOptions prefetch;
  prefetch.engine = options.io_engine;
  prefetch.transfer.block_size = options.block_size;
  prefetch.transfer.max_retries = options.max_retries;
  prefetch.queue_depth = options.queue_depth;
  prefetch.ring_bytes = schedule.ring_bytes;
  prefetch.prefetch_depth = plan.prefetch_depth;
  if (options.make_engine)
    prefetcher.emplace(device, prefetch, options.make_engine());
  else
    prefetcher.emplace(device, prefetch);
  statistics.io_engine = prefetcher->engine_name();
  if (!prefetcher->notes().empty()) statistics.notes.push_back(prefetcher->notes());
}

Generator::Generator(const PackedStore& store, Device& device, Kernels& kernels,
                     const Tokenizer* tokenizer, const GeneratorOptions& options)
    : state_(std::make_unique<State>(store, tokenizer)) {
  State& state = *state_;
  state.plan = plan_memory(store, memory_request(options));
  state.statistics.pools = state.plan.pools;
  for (const Segment& segment : store.segments()) state.statistics.weights_bytes += segment.bytes;
  state.load(device, options);
  state.kv.emplace(store.config(), store.dtype(), options.block_tokens, state.plan.kv_blocks,
                   device);

  Schedule schedule =
      make_schedule(store.segments(), state.plan.resident, state.plan.prefetch_depth);
  state.statistics.streamed_bytes_per_pass = schedule.streamed_bytes;
  if (schedule.streamed_bytes > 0) state.start_streaming(device, options, schedule);
  const LayerSchedulerParts parts{&store,
                                  &state.weights,
                                  &*state.resident,
                                  &*state.kv,
                                  state.prefetcher ? &*state.prefetcher : nullptr,
                                  &device,
                                  &kernels};
  state.scheduler.emplace(parts, std::move(schedule), state.plan.token_budget,
                          state.plan.max_sequences);
  state.limits = {state.plan.max_sequences, state.plan.token_budget, max_context()};
  state.batch.reserve(state.plan.token_budget, state.plan.max_sequences);
  state.sample_rows.reserve(state.plan.max_sequences);
  state.sample_results.resize(state.plan.max_sequences);
}

Generator::~Generator() = default;

int64_t Generator::max_context() const {
  const int64_t tokens = state_->kv->num_blocks() * state_->kv->layers()->block_tokens;
  return std::min(tokens, state_->store.config().max_position_embeddings);
}

const RunStatistics& Generator::statistics() const { return state_->statistics; }

void Generator::run(const GenerationClient& client, const std::atomic<bool>& stop) {
  Wave wave(*state_->kv, state_->tokenizer, state_->limits);
  while (!stop) {
    wave.refill(client);
    if (wave.empty()) return;
    state_->run_pass(wave, client);
  }
}

void Generator::State::run_pass(Wave& wave, const GenerationClient& client) {
  const Clock::time_point start = Clock::now();
  const int64_t prompt_tokens = wave.compose(batch, sample_rows);
  statistics.rows_active = wave.size();
  scheduler->run(batch, sample_rows.data(), sample_results.data());

  const bool prefill = prompt_tokens > 0;
  (prefill ? statistics.prefill_seconds : statistics.decode_seconds) += seconds_since(start);
  (prefill ? statistics.prefill_passes : statistics.decode_passes) += 1;
  statistics.prompt_tokens += prompt_tokens;
  statistics.stall_weights_seconds = scheduler->stall_seconds();
  statistics.flops = scheduler->flops();
  if (prefetcher) {
    const PrefetchCounters counters = prefetcher->counters();
    statistics.bytes_read = counters.bytes_read;
    statistics.reading_seconds = counters.reading_seconds;
  }
  statistics.generated_tokens += wave.collect(sample_results, client);
  if (client.on_pass) client.on_pass(statistics);
}

}  // namespace zerostream
