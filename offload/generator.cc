#include "offload/generator.h"

#include <chrono>

#include "offload/wave.h"

namespace zerostream {

struct Generator::State {
  const Tokenizer* tokenizer;
  ModelRuntime runtime;
  WaveLimits limits;
  RunStatistics statistics;
  PassBatch batch;
  std::vector<SampleRow> sample_rows;
  std::vector<SampleResult> sample_results;

  State(const PackedStore& store, Device& device, Kernels& kernels, const Tokenizer* row_tokenizer,
        const RuntimeOptions& options)
      : tokenizer(row_tokenizer), runtime(store, device, kernels, options) {
    const MemoryPlan& plan = runtime.plan();
    limits = {plan.max_sequences, plan.token_budget, runtime.max_context(), options.share_prefixes};
    batch.reserve(plan.token_budget, plan.max_sequences);
    sample_rows.reserve(plan.max_sequences);
    sample_results.resize(plan.max_sequences);
    runtime.update(statistics);
  }
  void run_pass(Wave& wave, const GenerationClient& client);
};

Generator::Generator(const PackedStore& store, Device& device, Kernels& kernels,
                     const Tokenizer* tokenizer, const RuntimeOptions& options)
    : state_(std::make_unique<State>(store, device, kernels, tokenizer, options)) {}

Generator::~Generator() = default;

int64_t Generator::max_context() const { return state_->limits.max_context; }
const MemoryPlan& Generator::plan() const { return state_->runtime.plan(); }
const RunStatistics& Generator::statistics() const { return state_->statistics; }

void Generator::run(const GenerationClient& client, const std::atomic<bool>& stop) {
  Wave wave(state_->runtime.kv_blocks(), state_->tokenizer, state_->limits);
  while (!stop) {
    wave.refill(client);
    if (wave.empty()) return;
    state_->run_pass(wave, client);
  }
}

void Generator::State::run_pass(Wave& wave, const GenerationClient& client) {
  const auto start = std::chrono::steady_clock::now();
  const PassCounts counts = wave.compose(batch, sample_rows);
  statistics.rows_active = wave.size();
  runtime.scheduler().run(batch, sample_rows.data(), sample_results.data());

  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const bool prefill = counts.prompt_tokens > 0;
  (prefill ? statistics.prefill_seconds : statistics.decode_seconds) += seconds;
  (prefill ? statistics.prefill_passes : statistics.decode_passes) += 1;
  statistics.prompt_tokens += counts.prompt_tokens;
  statistics.reused_tokens += counts.reused_tokens;
  statistics.paused_rows += counts.paused_rows;
  runtime.update(statistics);
  statistics.generated_tokens += wave.collect(sample_results, runtime.scheduler().scores(), client);
  if (client.on_pass) client.on_pass(statistics);
}

}  // namespace zerostream
