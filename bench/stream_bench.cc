// Whole passes of a large model whose weights stream from disk, beside what the disk and the
// arithmetic units allow.
//
//   stream_bench [--model DIR] [--store DIR] [--memory 6GiB] [--rows 64] [--prompt-tokens 32]
//   [--passes 6] [--depth N] [--placement auto|nvme] [--dtype bf16|int8|int4] [--group-size 64]
//   [--int8-activations]
//
// Packs random weights of the model's shape into the store (once), enters a memory cgroup of
// --memory (needs root), measures the ceilings, generates for --rows rows at once, with as many
// weights in memory as there is room for (auto) or none (nvme), and measures the ceilings again.
// The ratio is the median decode pass over max(streamed bytes / read ceiling, flops / GEMM
// ceiling).
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "bench/command_line.h"
#include "bench/dummy_store.h"
#include "bench/gemm_ceilings.h"
#include "bench/memory_cgroup.h"
#include "bench/plain_onednn.h"
#include "bench/plain_uring.h"
#include "cpu/cpu_device.h"
#include "cpu/cpu_kernels.h"
#include "offload/generator.h"
#include "offload/memory_limit.h"

namespace zerostream {
namespace {

constexpr int64_t kReadBytes = int64_t{3} << 30;  // of one reading of the disk's ceiling

struct Options {
  std::string model = "configs/bench/mistral-7b-shape";
  std::string store = "mistral-7b-shape.store";
  int64_t memory = int64_t{6} << 30;
  int32_t rows = 64;
  int32_t prompt_tokens = 32;
  int32_t passes = 6;
  int32_t depth = -1;
  PlacementKind placement = PlacementKind::kAuto;
  DType dtype = DType::kBF16;
  std::optional<int32_t> group_size;
  bool int8_activations = false;
};

void add_options(CLI::App& app, Options& options) {
  app.add_option("--model", options.model, "Folder with the shape's config.json");
  app.add_option("--store", options.store, "Its store; made where it is missing");
  add_bytes(app, "--memory", options.memory, "Limit of the cgroup");
  app.add_option("--rows", options.rows, "Rows of a pass");
  app.add_option("--prompt-tokens", options.prompt_tokens, "Tokens of each prompt");
  app.add_option("--passes", options.passes, "Decode passes");
  app.add_option("--depth", options.depth, "Segments fetched ahead");
  app.add_option("--placement", options.placement, "Where weights rest")
      ->transform(CLI::CheckedTransformer(std::map<std::string, PlacementKind>{
          {"auto", PlacementKind::kAuto}, {"nvme", PlacementKind::kNvme}}));
  add_dtype(app, "--dtype", options.dtype, "Of the store");
  app.add_option("--group-size", options.group_size, "Inputs of a group of quantised weights");
  app.add_flag("--int8-activations", options.int8_activations, "Multiply integers");
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

// What this machine allows, read before and after the run.
class Ceilings {
 public:
  Ceilings(const PackedStore& store, int64_t rows)
      : file_(File::open(store.weights_path(), {.write = false, .direct = true})), rows_(rows) {}

  void measure() {
    {
      const Buffer memory = allocate_host(int64_t{64} << 20);
      const int64_t bytes =
          std::min(kReadBytes, file_.size()) / (int64_t{4} << 20) * (int64_t{4} << 20);
      for (int i = 0; i < 3; ++i)
        reads_.push_back(
            static_cast<double>(bytes) /
            plain_uring_seconds({.fd = file_.fd(), .bytes = bytes, .depth = 16}, memory.data()) /
            1e9);
    }
    WorkerPool pool(CpuDevice(CpuDeviceOptions()).threads(), "ceiling");
    const Buffer weights = allocate_host(kInputs * kOutputs * 2 * kCopies);
    const auto onednn = make_plain_onednn({DType::kBF16, kInputs, kOutputs, kCopies}, pool);
    if (onednn) onednn->prepare(rows_);
    for (int i = 0; i < 6; ++i) {
      double gflops = std::min(register_gflops(DType::kBF16, detect_cpu_isa(), pool),
                               read_gigabytes(weights.data() + i % kCopies * kInputs * kOutputs * 2,
                                              kInputs * kOutputs * 2, pool) *
                                   static_cast<double>(rows_));
      if (onednn) {
        const double begin = seconds_now();
        onednn->run(i);
        gflops = std::max(gflops, flops() / (seconds_now() - begin) / 1e9);
      }
      gemm_.push_back(gflops);
    }
  }
  double read_gigabytes_per_second() const { return median(reads_); }
  double gemm_gigaflops() const { return *std::max_element(gemm_.begin(), gemm_.end()); }

 private:
  static constexpr int64_t kInputs = 4096, kOutputs = 14336, kCopies = 2;
  double flops() const { return 2.0 * static_cast<double>(kInputs * kOutputs * rows_); }

  File file_;
  int64_t rows_;
  std::vector<double> reads_, gemm_;
};

struct Passes {
  std::vector<double> prefill_seconds, decode_seconds;
  double decode_flops = 0;  // of one decode pass
  RunStatistics statistics;
};

Passes generate(Generator& generator, const Options& options, int64_t vocab_size) {
  Passes passes;
  std::mt19937 random(1);
  int32_t given = 0;
  GenerationClient client;
  client.next = [&](bool) -> std::optional<GenerationRequest> {
    if (given == options.rows) return std::nullopt;
    GenerationRequest request;
    request.handle = given++;
    request.max_new_tokens = options.passes + 1;
    for (int32_t i = 0; i < options.prompt_tokens; ++i)
      request.prompt_tokens.push_back(static_cast<int32_t>(random() % vocab_size));
    return request;
  };
  client.on_result = [](GenerationResult) {};
  client.on_pass = [&, last = RunStatistics()](const RunStatistics& now) mutable {
    if (now.decode_passes > last.decode_passes) {
      passes.decode_seconds.push_back(now.decode_seconds - last.decode_seconds);
      passes.decode_flops = now.flops - last.flops;
    } else {
      passes.prefill_seconds.push_back(now.prefill_seconds - last.prefill_seconds);
    }
    std::printf(
        "  pass of %s: %.2f s, waited %.2f s for weights\n",
        now.decode_passes > last.decode_passes ? "decoding" : "prompts",
        now.prefill_seconds + now.decode_seconds - last.prefill_seconds - last.decode_seconds,
        now.stall_weights_seconds - last.stall_weights_seconds);
    std::fflush(stdout);
    last = now;
  };
  generator.run(client, std::atomic<bool>(false));
  passes.statistics = generator.statistics();
  return passes;
}

void run(const Options& options) {
  PackOptions pack;
  pack.dtype = options.dtype;
  pack.group_size = options.group_size;
  const PackedStore store = open_or_pack_dummy(options.model, options.store, pack);
  std::string why;
  const std::optional<MemoryCgroup> cgroup = MemoryCgroup::enter(options.memory, &why);
  if (!cgroup) std::printf("no memory limit: %s\n", why.c_str());

  Ceilings ceilings(store, options.rows);
  ceilings.measure();
  CpuDevice device{CpuDeviceOptions()};
  CpuKernels kernels(device, store.config().vocab_size);
  RuntimeOptions runtime;
  runtime.placement.kind = options.placement;
  runtime.host_memory = std::min(options.memory, measure_host_memory().usable());
  runtime.int8_activations = options.int8_activations;
  runtime.workload = {.rows = options.rows,
                      .mean_prompt_tokens = static_cast<double>(options.prompt_tokens),
                      .mean_new_tokens = static_cast<double>(options.passes + 1),
                      .longest_prompt_tokens = options.prompt_tokens,
                      .longest_row_tokens = options.prompt_tokens + options.passes + 1};
  runtime.max_sequences = options.rows;
  runtime.token_budget = std::max(options.rows * options.prompt_tokens, options.rows);
  runtime.prefetch_depth = options.depth;
  const int64_t kernel_before = kernel_read_bytes();
  Passes passes;
  {
    Generator generator(store, device, kernels, nullptr, runtime);
    for (const std::string& note : generator.statistics().notes)
      std::printf("  %s\n", note.c_str());
    for (const PoolBytes& pool : generator.statistics().pools)
      std::printf("  %-18s %s\n", pool.name.c_str(), format_bytes(pool.bytes).c_str());
    passes = generate(generator, options, store.config().vocab_size);
  }
  const int64_t kernel_read = kernel_read_bytes() - kernel_before;
  ceilings.measure();

  const RunStatistics& statistics = passes.statistics;
  const double bytes = static_cast<double>(statistics.streamed_bytes_per_pass);
  const double fetch = bytes / ceilings.read_gigabytes_per_second() / 1e9;
  const double compute = passes.decode_flops / ceilings.gemm_gigaflops() / 1e9;
  const double decode = median(passes.decode_seconds);
  std::printf("streamed per pass   %.2f GB, in memory %.2f GB, engine %s, direct %d\n", bytes / 1e9,
              static_cast<double>(statistics.resident_bytes) / 1e9, statistics.io_engine.c_str(),
              statistics.io_direct);
  std::printf("read ceiling        %.2f GB/s: %.2f s a pass\n",
              ceilings.read_gigabytes_per_second(), fetch);
  std::printf("GEMM ceiling        %.0f GF/s at M = %d: %.2f s a pass\n", ceilings.gemm_gigaflops(),
              options.rows, compute);
  std::printf("decode pass         %.2f s median of %zu: %.2f tokens/s\n", decode,
              passes.decode_seconds.size(), options.rows / decode);
  std::printf("ratio               %.3f (pass / max(fetch, compute))\n",
              decode / std::max(fetch, compute));
  std::printf("read                %s by own count, %s by the kernel's\n",
              format_bytes(statistics.bytes_read).c_str(), format_bytes(kernel_read).c_str());
  if (cgroup)
    std::printf("memory              peak %s of %s, page cache now %s\n",
                format_bytes(cgroup->peak_bytes()).c_str(), format_bytes(options.memory).c_str(),
                format_bytes(cgroup->page_cache_bytes()).c_str());
}

}  // namespace
}  // namespace zerostream

int main(int argc, char** argv) {
  using namespace zerostream;
  CLI::App app("Passes of a large model that streams, beside the machine's ceilings");
  Options options;
  add_options(app, options);
  return run_bench(app, argc, argv, [&] { run(options); });
}
