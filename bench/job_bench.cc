// A whole job of rows of mixed lengths on a model that streams from disk, beside its bound and
// beside the same job in fixed batches.
//
//   job_bench [--model DIR] [--store DIR] [--memory 900MiB] [--rows 128] [--max-sequences 32]
//             [--token-budget 512] [--kv host|nvme] [--batches 0|1]
//
// Packs random weights of the model's shape into the store (once), enters a memory cgroup of
// --memory (needs root), measures how fast the disk reads and how fast products are alone, and
// generates for rows with prompts of 8 to 256 tokens and 8 to 128 new ones (seeded): first as a
// job, rows joining and leaving at every pass, then (--batches 1) in batches that end before the
// next begins, without padding. The bound of a pass is the larger of its bytes from and to disk
// over the read ceiling and its flops over the rate of products alone; that of a job is their sum.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "bench/memory_cgroup.h"
#include "bench/plain_uring.h"
#include "cpu/cpu_device.h"
#include "cpu/cpu_kernels.h"
#include "model/checkpoint.h"
#include "offload/generator.h"
#include "offload/memory_limit.h"
#include "offload/pack.h"
#include "offload/probe.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

struct Options {
  std::string model = "configs/bench/mistral-4-layers";
  std::string store = "mistral-4-layers.store";
  int64_t memory = int64_t{900} << 20;
  int32_t rows = 128;
  int32_t max_sequences = 32;
  int32_t token_budget = 512;
  PlacementKind kv = PlacementKind::kHost;
  bool batches = true;
};

Options parse(int count, char** words) {
  Options options;
  for (int i = 1; i + 1 < count; i += 2) {
    const std::string key = words[i], value = words[i + 1];
    const int64_t number = parse_bytes(value).value_or(-1);
    if (key == "--model")
      options.model = value;
    else if (key == "--store")
      options.store = value;
    else if (key == "--kv")
      options.kv = value == "nvme" ? PlacementKind::kNvme : PlacementKind::kHost;
    else if (number < 0)
      throw UsageError(key + ": expected a size or a number, not '" + value + "'");
    else if (key == "--memory")
      options.memory = number;
    else if (key == "--rows")
      options.rows = static_cast<int32_t>(number);
    else if (key == "--max-sequences")
      options.max_sequences = static_cast<int32_t>(number);
    else if (key == "--token-budget")
      options.token_budget = static_cast<int32_t>(number);
    else if (key == "--batches")
      options.batches = number != 0;
    else
      throw UsageError("unknown option " + key);
  }
  return options;
}

PackedStore open_or_make(const Options& options) {
  if (!PackedStore::is_store(options.store)) {
    std::printf("packing random weights into %s\n", options.store.c_str());
    PackOptions pack;
    pack.dtype = DType::kBF16;
    pack.dummy_weights = true;
    pack_store(Checkpoint::open_config_only(options.model), options.store, pack);
  }
  return PackedStore::open(options.store);
}

std::vector<GenerationRequest> make_rows(const Options& options, int64_t vocab_size) {
  std::mt19937 random(5);
  std::vector<GenerationRequest> rows(options.rows);
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].handle = i;
    rows[i].prompt_tokens.resize(8 + random() % 249);
    for (int32_t& token : rows[i].prompt_tokens)
      token = static_cast<int32_t>(random() % vocab_size);
    rows[i].max_new_tokens = static_cast<int32_t>(8 + random() % 121);
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

// Bytes per second of plain reads, and seconds of products alone.
struct Ceilings {
  double read = 0;
  HardwareProfile profile;
  DType weights = DType::kBF16;

  double pass_seconds(double bytes, double flops, int64_t tokens) const {
    constexpr int64_t kSide = 4096;  // of a product that stands for those of the pass
    const double product = profile.gemm(weights, false).seconds(tokens, kSide, kSide);
    const double product_flops = 2.0 * static_cast<double>(tokens * kSide * kSide);
    return std::max(bytes / read, flops * product / product_flops);
  }
};

Ceilings measure(const PackedStore& store, Device& device, Kernels& kernels) {
  constexpr int64_t kBlock = int64_t{4} << 20;
  Ceilings ceilings;
  ceilings.weights = store.layout().dtype;
  const File file = File::open(store.weights_path(), {.write = false, .direct = true});
  const int64_t bytes = std::min(file.size(), int64_t{1} << 30) / kBlock * kBlock;
  const Buffer memory = allocate_host(16 * kBlock);
  std::vector<double> rates;
  for (int i = 0; i < 5; ++i)
    rates.push_back(
        static_cast<double>(bytes) /
        plain_uring_seconds({.fd = file.fd(), .bytes = bytes, .depth = 16}, memory.data()));
  std::sort(rates.begin(), rates.end());
  ceilings.read = rates[rates.size() / 2];
  ceilings.profile =
      quick_profile(device, kernels, {.path = store.weights_path(), .weights = ceilings.weights});
  return ceilings;
}

struct Outcome {
  double seconds = 0;
  double bound_seconds = 0;
  int64_t passes = 0;
  RunStatistics statistics;
};

// batch_rows > 0: as many rows begin together, and none joins before all of them ended.
Outcome generate(Generator& generator, std::vector<GenerationRequest> rows, int64_t batch_rows,
                 const Ceilings& ceilings) {
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
  client.on_pass = [&, last = RunStatistics()](const RunStatistics& now) mutable {
    const double bytes =
        static_cast<double>(now.streamed_bytes_per_pass + now.kv_bytes_read - last.kv_bytes_read +
                            now.kv_bytes_written - last.kv_bytes_written);
    const int64_t tokens =
        now.prompt_tokens - last.prompt_tokens + now.generated_tokens - last.generated_tokens;
    outcome.bound_seconds +=
        ceilings.pass_seconds(bytes, now.flops - last.flops, std::max<int64_t>(tokens, 1));
    ++outcome.passes;
    last = now;
  };
  generator.run(client, std::atomic<bool>(false));
  outcome.statistics = generator.statistics();
  outcome.seconds = outcome.statistics.prefill_seconds + outcome.statistics.decode_seconds;
  return outcome;
}

void print(const char* name, const Outcome& outcome) {
  const RunStatistics& s = outcome.statistics;
  std::printf(
      "%-8s %6.1f s, %lld passes, %.1f tokens/s; bound %.1f s: ratio %.3f; waited %.1f s for "
      "weights, %.1f s for KV (%.2f GB read, %.2f GB written); %lld rows paused\n",
      name, outcome.seconds, static_cast<long long>(outcome.passes),
      static_cast<double>(s.generated_tokens) / outcome.seconds, outcome.bound_seconds,
      outcome.bound_seconds / outcome.seconds, s.stall_weights_seconds, s.stall_kv_seconds,
      static_cast<double>(s.kv_bytes_read) / 1e9, static_cast<double>(s.kv_bytes_written) / 1e9,
      static_cast<long long>(s.paused_rows));
}

void run(const Options& options) {
  const PackedStore store = open_or_make(options);
  std::string why;
  const std::optional<MemoryCgroup> cgroup = MemoryCgroup::enter(options.memory, &why);
  if (!cgroup) std::printf("no memory limit: %s\n", why.c_str());
  CpuDevice device{CpuDeviceOptions()};
  CpuKernels kernels(device, store.config().vocab_size);
  const Ceilings ceilings = measure(store, device, kernels);
  const std::vector<GenerationRequest> rows = make_rows(options, store.config().vocab_size);

  RuntimeOptions runtime;
  runtime.host_memory = std::min(options.memory, measure_host_memory().usable());
  runtime.max_sequences = options.max_sequences;
  runtime.token_budget = options.token_budget;
  runtime.kv_placement.kind = options.kv;
  runtime.workload = workload_of(rows);
  std::printf("%d rows, %.0f prompt and %.0f new tokens each; read ceiling %.2f GB/s\n",
              options.rows, runtime.workload.mean_prompt_tokens, runtime.workload.mean_new_tokens,
              ceilings.read / 1e9);
  for (const bool batches : {false, true}) {
    if (batches && !options.batches) break;
    Generator generator(store, device, kernels, nullptr, runtime);
    if (!batches)
      for (const PoolBytes& pool : generator.statistics().pools)
        std::printf("  %-18s %s\n", pool.name.c_str(), format_bytes(pool.bytes).c_str());
    print(batches ? "batches" : "job",
          generate(generator, rows, batches ? options.max_sequences : 0, ceilings));
    std::fflush(stdout);
  }
  if (cgroup)
    std::printf("memory   peak %s of %s\n", format_bytes(cgroup->peak_bytes()).c_str(),
                format_bytes(options.memory).c_str());
}

}  // namespace
}  // namespace zerostream

int main(int argc, char** argv) {
  try {
    zerostream::run(zerostream::parse(argc, argv));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "job_bench: %s\n", error.what());
    return 1;
  }
  return 0;
}
