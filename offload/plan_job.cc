#include "offload/plan_job.h"

#include <algorithm>
#include <filesystem>

#include "model/input_file.h"
#include "model/tokenizer.h"
#include "offload/backend.h"
#include "offload/loaded_model.h"
#include "offload/memory_limit.h"
#include "offload/probe.h"
#include "offload/rows.h"
#include "offload/store_files.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr double kUsableShare = 0.95;  // of a profile's memory

// What will be read in the run: the store, or where it will be.
std::string storage_path(const RunConfig& config, const std::string& cache_folder) {
  if (PackedStore::is_store(config.model.path))
    return path_in(config.model.path, std::string(kWeightsFile));
  if (!config.model.store.empty() && file_exists(config.model.store)) return config.model.store;
  make_folder(cache_folder);
  return cache_folder;
}

HardwareProfile this_machine(const RunConfig& config, const Backend& backend,
                             const PlanOptions& options) {
  if (options.note) options.note("measuring this machine, or using what was measured of it before");
  return load_profile_or_measure(options.cache_folder, backend,
                                 {.path = storage_path(config, options.cache_folder),
                                  .engine = config.nvme.engine,
                                  .int8_activations = config.device.int8_activations,
                                  .all_weights = true});
}

std::unique_ptr<Tokenizer> tokenizer_of(const std::string& path) {
  try {
    return load_tokenizer(path);
  } catch (const CheckpointError&) {
    return nullptr;  // rows then bring token ids
  }
}

Workload flagged(const EqualRows& rows, const RowContext& context) {
  const int64_t made =
      rows.new_tokens > 0 ? rows.new_tokens : int64_t{*context.sampling.max_new_tokens};
  return equal_rows(rows.rows, rows.prompt_tokens, made, context);
}

Workload workload_of(const RunConfig& config, const ModelConfig& model, const PlanOptions& options,
                     const std::atomic<bool>& stop) {
  RowContext context{.vocab_size = model.vocab_size,
                     .sampling = merge_sampling(config.sampling, default_sampling()),
                     .model_context = model.max_position_embeddings,
                     .over_length = config.job.over_length};
  if (options.rows) return flagged(*options.rows, context);
  const std::string& input = config.job.input;
  const bool readable = !input.empty() && std::filesystem::is_regular_file(input);
  if (!readable && !input.empty() && input != "-" && !std::filesystem::exists(input))
    throw IoError("job.input: " + input + " does not exist", ENOENT);
  if (!readable) return {};
  const auto tokenizer = tokenizer_of(config.model.path);
  context.tokenizer = tokenizer.get();
  const Workload workload = measure_workload(input, context, stop);
  if (workload.rows == 0) throw UsageError("job.input: " + input + " has no row that can run");
  return workload;
}

int64_t usable(int64_t bytes) {
  return static_cast<int64_t>(kUsableShare * static_cast<double>(bytes));
}

// Memory of the profile's machine: of the device that computes, and of the host beside it.
void set_memory(const RunConfig& config, const HardwareProfile& profile, PlanRequest& request) {
  const int64_t host = config.host.memory.value_or(usable(profile.host.bytes));
  request.memory.own_memory = profile.link.has_value();
  if (profile.link) {
    request.host_memory = host;
    request.memory.host_memory =
        config.device.memory.value_or(usable(profile.compute.memory.bytes));
  } else {
    request.memory.host_memory = std::min(host, config.device.memory.value_or(host));
  }
}

void check_device(const RunConfig& config, const HardwareProfile& profile) {
  if (!config.device.type || *config.device.type == profile.device) return;
  const bool cuda = profile.device == DeviceKind::kCuda;
  throw UsageError("device.type: the run file asks for " + std::string(cuda ? "a CPU" : "cuda") +
                   ", but the profile \"" + profile.name + "\" is of " +
                   (cuda ? "a cuda device" : "a CPU"));
}

}  // namespace

PlannedJob plan_job(const RunConfig& config, const PlanOptions& options,
                    const std::atomic<bool>& stop) {
  if (config.model.path.empty())
    throw UsageError("model.path is missing (or --set model.path=...)");
  PlannedJob job;
  job.model = plan_model(config.model.path, pack_options(config.weights));
  RuntimeOptions run = runtime_options(config);
  const KernelLimits limits = kernel_limits(config.device, job.model.layout);
  if (options.hardware.empty()) {
    if (config.parallel.ranks > 1)
      throw UsageError("parallel.ranks: several are planned for a profile only (--hardware)");
    check_runnable(config);
    const Backend backend = make_backend(config.device, limits);
    fit_options(backend, run);
    job.hardware = this_machine(config, backend, options);
    job.request.memory = memory_request(run, backend.device->scratch_bytes());
    job.request.host_memory = run.host_memory;
  } else {
    job.hardware = read_hardware_profile(options.hardware);
    check_device(config, job.hardware);
    const bool gpu = job.hardware.device == DeviceKind::kCuda;
    job.request.memory = memory_request(run, gpu ? gpu_scratch_bytes(limits) : 0);
    set_memory(config, job.hardware, job.request);
  }
  job.request.memory.workload = workload_of(config, job.model.layout.config, options, stop);
  job.request.ranks = config.parallel.ranks;
  job.request.int8_activations = config.device.int8_activations;
  job.plan = plan_run(job.model.layout, job.request, job.hardware);
  if (options.what_ifs)
    job.what_ifs =
        what_ifs(job.model.layout, job.model.format, job.request, job.hardware, job.plan);
  return job;
}

}  // namespace zerostream
