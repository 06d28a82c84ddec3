// A whole job of rows of mixed lengths on a model that streams from disk, beside its bound and
// beside the same job in fixed batches.
//
//   job_bench [--model DIR] [--store DIR] [--memory 900MiB] [--rows 128] [--prompt-tokens 256]
//             [--new-tokens 128] [--max-sequences 32] [--token-budget 512] [--kv host|nvme]
//             [--batches] [--trace FILE]
//
// Packs random weights of the model's shape into the store (once), enters a memory cgroup of
// --memory (needs root), measures how fast products are alone and, before, after and every ten
// seconds of a job, between two passes, how fast the disk reads, and generates for rows with
// prompts of 8 to 256 tokens and 8 to 128 new ones (seeded; --prompt-tokens, --new-tokens: the most
// of each): first as a job, rows joining and leaving at every pass, then (--batches) in batches
// that end before the next begins, without padding. The bound of a pass is the larger of its bytes
// from and to disk over the read ceiling at that time and its flops over the rate of products
// alone; that of a job is their sum.
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/bytes.h"
#include "bench/command_line.h"
#include "bench/dummy_store.h"
#include "bench/memory_cgroup.h"
#include "bench/plain_uring.h"
#include "offload/backend.h"
#include "offload/generator.h"
#include "offload/memory_limit.h"
#include "offload/probe.h"
#include "offload/run_recorder.h"

namespace zerostream {
namespace {

struct Options {
  std::string model = "configs/bench/mistral-4-layers";
  std::string store = "mistral-4-layers.store";
  int64_t memory = int64_t{900} << 20;
  int32_t rows = 128;
  int32_t prompt_tokens = 256;
  int32_t new_tokens = 128;
  int32_t max_sequences = 32;
  int32_t token_budget = 512;
  PlacementKind kv = PlacementKind::kHost;
  bool batches = false;
  std::string trace;
};

void add_options(CLI::App& app, Options& options) {
  app.add_option("--model", options.model, "Folder with the shape's config.json");
  app.add_option("--store", options.store, "Its store; made where it is missing");
  add_bytes(app, "--memory", options.memory, "Limit of the cgroup");
  app.add_option("--rows", options.rows, "Rows of the job");
  app.add_option("--prompt-tokens", options.prompt_tokens, "Longest prompt; the shortest has 8")
      ->check(CLI::Range(8, 1 << 20));
  app.add_option("--new-tokens", options.new_tokens, "Most new tokens of a row; the fewest are 8")
      ->check(CLI::Range(8, 1 << 20));
  app.add_option("--max-sequences", options.max_sequences, "Most rows of a pass");
  app.add_option("--token-budget", options.token_budget, "Most tokens of a pass");
  app.add_option("--kv", options.kv, "Where keys and values rest")
      ->transform(CLI::CheckedTransformer(std::map<std::string, PlacementKind>{
          {"host", PlacementKind::kHost}, {"nvme", PlacementKind::kNvme}}));
  app.add_flag("--batches", options.batches, "Then the same rows in fixed batches");
  app.add_option("--trace", options.trace, "File for a trace of the job");
}

std::vector<GenerationRequest> make_rows(const Options& options, int64_t vocab_size) {
  std::mt19937 random(5);
  std::vector<GenerationRequest> rows(options.rows);
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].handle = i;
    rows[i].prompt_tokens.resize(8 + random() % (options.prompt_tokens - 7));
    for (int32_t& token : rows[i].prompt_tokens)
      token = static_cast<int32_t>(random() % vocab_size);
    rows[i].max_new_tokens = static_cast<int32_t>(8 + random() % (options.new_tokens - 7));
  }
  return rows;
}

Workload workload_of(const std::vector<GenerationRequest>& rows) {
  Workload workload{.rows = std::ssize(rows)};
  for (const GenerationRequest& row : rows) {
    const int64_t prompt = std::ssize(row.prompt_tokens);
    workload.mean_prompt_tokens += static_cast<double>(prompt) / static_cast<double>(rows.size());
    workload.mean_new_tokens += row.max_new_tokens / static_cast<double>(rows.size());
    workload.longest_prompt_tokens = std::max(workload.longest_prompt_tokens, prompt);
    workload.longest_row_tokens =
        std::max(workload.longest_row_tokens, prompt + row.max_new_tokens);
  }
  return workload;
}

// What a pass moved and computed.
struct PassWork {
  double bytes = 0;
  double flops = 0;
  int64_t tokens = 0;
  size_t readings = 0;  // of the read ceiling, until then
};

// What this machine allows: reads of the store, and products alone. Reads are measured again and
// again, because the rate of a shared disk changes.
class Ceilings {
 public:
  Ceilings(const PackedStore& store, const Backend& backend)
      : file_(File::open(store.weights_path(), {.write = false, .direct = true})),
        weights_(store.layout().dtype),
        profile_(quick_profile(backend,
                               {.path = store.weights_path(), .weights = store.layout().dtype})) {}

  void read() {
    const int64_t bytes = std::min(file_.size(), int64_t{512} << 20) / kBlock * kBlock;
    std::array<double, 3> seconds;
    for (double& read : seconds)
      read = plain_uring_seconds(
          {.fd = file_.fd(), .bytes = bytes, .block = kBlock, .depth = kDepth}, memory_.data());
    std::sort(seconds.begin(), seconds.end());
    rates_.push_back(static_cast<double>(bytes) / seconds[1]);
    read_at_ = Clock::now();
  }
  size_t readings() const { return rates_.size(); }
  double seconds_since_reading() const {
    return std::chrono::duration<double>(Clock::now() - read_at_).count();
  }
  const std::vector<double>& rates() const { return rates_; }

  // REQUIRES: readings before and after the pass.
  double seconds(const PassWork& pass) const {
    constexpr int64_t kSide = 4096;  // of a product that stands for those of the pass
    const double product = profile_.gemm(weights_, false).seconds(pass.tokens, kSide, kSide);
    const double product_flops = 2.0 * static_cast<double>(pass.tokens * kSide * kSide);
    const double rate = (rates_[pass.readings - 1] + rates_[pass.readings]) / 2;
    return std::max(pass.bytes / rate, pass.flops * product / product_flops);
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr int64_t kBlock = int64_t{4} << 20;
  static constexpr int kDepth = 16;
  File file_;
  const Buffer memory_ = allocate_host(kDepth * kBlock);
  DType weights_;
  HardwareProfile profile_;
  std::vector<double> rates_;  // bytes/s
  Clock::time_point read_at_;
};

// Measures reads while nothing else does: the slots are full soon when no pass takes from them.
// Returns the bytes that they hold.
double read_between_passes(Ceilings& ceilings, const RunStatistics& statistics) {
  double slots = 0;
  for (const PoolBytes& pool : statistics.pools)
    if (pool.name == "slots") slots = static_cast<double>(pool.bytes);
  std::this_thread::sleep_for(std::chrono::duration<double>(2 * slots / ceilings.rates().back()));
  ceilings.read();
  return slots;
}

struct Outcome {
  double seconds = 0;
  std::vector<PassWork> passes;
  RunStatistics statistics;
};

// batch_rows > 0: as many rows begin together, and none joins before all of them ended.
Outcome generate(Generator& generator, std::vector<GenerationRequest> rows, int64_t batch_rows,
                 Ceilings& ceilings, RunRecorder& recorder) {
  Outcome outcome;
  size_t given = 0;
  int64_t in_batch = 0;
  GenerationClient client;
  client.next = [&](bool idle) -> std::optional<GenerationRequest> {
    if (idle) in_batch = 0;
    if (given == rows.size() || (batch_rows > 0 && in_batch == batch_rows)) return std::nullopt;
    ++in_batch;
    return rows[given++];
  };
  client.on_result = [](GenerationResult) {};
  constexpr double kSecondsBetweenReadings = 10;
  client.on_pass = [&, last = RunStatistics(),
                    held = 0.0](const RunStatistics& now) mutable {  // bytes that were in slots
    const double bytes =
        static_cast<double>(now.streamed_bytes_per_pass + now.kv_bytes_read - last.kv_bytes_read +
                            now.kv_bytes_written - last.kv_bytes_written);
    const int64_t tokens =
        now.prompt_tokens - last.prompt_tokens + now.generated_tokens - last.generated_tokens;
    outcome.passes.push_back({std::max(bytes - held, 0.0), now.flops - last.flops,
                              std::max<int64_t>(tokens, 1), ceilings.readings()});
    last = now;
    held = 0;
    recorder.on_pass(now);
    if (ceilings.seconds_since_reading() > kSecondsBetweenReadings)
      held = read_between_passes(ceilings, now);
  };
  ceilings.read();
  generator.run(client, std::atomic<bool>(false));
  ceilings.read();
  outcome.statistics = generator.statistics();
  outcome.seconds = outcome.statistics.prefill_seconds + outcome.statistics.decode_seconds;
  return outcome;
}

void print(const char* name, const Outcome& outcome, const Ceilings& ceilings) {
  const RunStatistics& s = outcome.statistics;
  double bound = 0;
  for (const PassWork& pass : outcome.passes) bound += ceilings.seconds(pass);
  const auto [slowest, fastest] =
      std::minmax_element(ceilings.rates().begin(), ceilings.rates().end());
  std::printf(
      "%-8s %6.1f s, %zu passes, %.1f tokens/s; bound %.1f s (reads at %.2f to %.2f GB/s): ratio "
      "%.3f; "
      "waited %.1f s for "
      "weights, %.1f s for KV (%.2f GB read, %.2f GB written); %lld rows paused\n",
      name, outcome.seconds, outcome.passes.size(),
      static_cast<double>(s.generated_tokens) / outcome.seconds, bound, *slowest / 1e9,
      *fastest / 1e9, bound / outcome.seconds, s.stall_weights_seconds, s.stall_kv_seconds,
      static_cast<double>(s.kv_bytes_read) / 1e9, static_cast<double>(s.kv_bytes_written) / 1e9,
      static_cast<long long>(s.paused_rows));
}

void run(const Options& options) {
  PackOptions pack;
  pack.dtype = DType::kBF16;
  const PackedStore store = open_or_pack_dummy(options.model, options.store, pack);
  std::string why;
  const std::optional<MemoryCgroup> cgroup = MemoryCgroup::enter(options.memory, &why);
  if (!cgroup) std::printf("no memory limit: %s\n", why.c_str());
  RunConfig::Device device;
  device.type = DeviceKind::kCpu;
  const Backend backend = make_backend(device, kernel_limits(device, store.layout()));
  Ceilings ceilings(store, backend);
  const std::vector<GenerationRequest> rows = make_rows(options, store.config().vocab_size);

  RuntimeOptions runtime;
  runtime.host_memory = std::min(options.memory, measure_host_memory().usable());
  runtime.max_sequences = options.max_sequences;
  runtime.token_budget = options.token_budget;
  runtime.kv_placement.kind = options.kv;
  runtime.workload = workload_of(rows);
  std::printf("%d rows, %.0f prompt and %.0f new tokens each\n", options.rows,
              runtime.workload.mean_prompt_tokens, runtime.workload.mean_new_tokens);
  for (const bool batches : {false, true}) {
    if (batches && !options.batches) break;
    RunRecorder recorder(batches ? std::string() : options.trace);
    runtime.timeline = recorder.timeline();
    Generator generator(store, *backend.device, *backend.kernels, nullptr, runtime);
    if (!batches)
      for (const PoolBytes& pool : generator.statistics().pools)
        std::printf("  %-18s %s\n", pool.name.c_str(), format_bytes(pool.bytes).c_str());
    const Outcome outcome =
        generate(generator, rows, batches ? options.max_sequences : 0, ceilings, recorder);
    print(batches ? "batches" : "job", outcome, ceilings);
    std::fflush(stdout);
  }
  if (cgroup)
    std::printf("memory   peak %s of %s\n", format_bytes(cgroup->peak_bytes()).c_str(),
                format_bytes(options.memory).c_str());
}

}  // namespace
}  // namespace zerostream

int main(int argc, char** argv) {
  using namespace zerostream;
  CLI::App app("A job of mixed rows on a model that streams, beside its bound");
  Options options;
  add_options(app, options);
  return run_bench(app, argc, argv, [&] { run(options); });
}
