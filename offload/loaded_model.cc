#include "offload/loaded_model.h"

#include <algorithm>
#include <limits>

#include "model/input_file.h"
#include "offload/host_plan.h"
#include "offload/json_values.h"
#include "offload/memory_limit.h"
#include "offload/pack.h"
#include "offload/planned_layout.h"
#include "offload/store_files.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr double kUsableShare = 0.95;  // of a device's memory that is free

// `eos_token_id` of a generation_config.json: absent, an id, or a list of ids.
std::vector<int32_t> generation_eos_ids(const PackedStore& store) {
  const Json& config = store.generation_config();
  const auto found = config.find("eos_token_id");
  if (found == config.end() || found->is_null()) return {};
  try {
    return read_token_ids(found->is_array() ? *found : Json::array({*found}));
  } catch (const BadValue& bad) {
    throw CheckpointError(path_in(store.path(), kGenerationConfigFile) + ": eos_token_id: " +
                          show_value(*found) + " is not an id or " + bad.expected);
  }
}

// The id of `eos_token` in a tokenizer_config.json: a string, or an object with its content.
std::optional<int32_t> tokenizer_eos_id(const PackedStore& store, const Tokenizer* tokenizer) {
  const std::string path = path_in(store.path(), kTokenizerConfigFile);
  if (tokenizer == nullptr || !file_exists(path)) return std::nullopt;
  const Json config = read_json_file(path);
  if (!config.is_object() || !config.contains("eos_token")) return std::nullopt;
  const Json& token = config["eos_token"];
  const Json& name = token.is_object() && token.contains("content") ? token["content"] : token;
  return name.is_string() ? tokenizer->token_to_id(name.get<std::string>()) : std::nullopt;
}

std::vector<int32_t> eos_ids(const PackedStore& store, const Tokenizer* tokenizer) {
  std::vector<int32_t> ids = generation_eos_ids(store);
  const auto& config_ids = store.config().eos_token_ids;
  ids.insert(ids.end(), config_ids.begin(), config_ids.end());
  if (const auto id = tokenizer_eos_id(store, tokenizer)) ids.push_back(*id);
  std::erase_if(ids, [&](int32_t id) { return id < 0 || id >= store.config().vocab_size; });
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

// Of a store or a checkpoint.
template <typename Source>
SamplingSettings sampling_of(const RunConfig& config, const Source& source,
                             std::vector<std::string>* ignored) {
  const SamplingSettings model = generation_config_sampling(
      source.generation_config(), path_in(source.path(), kGenerationConfigFile), ignored);
  return merge_sampling(config.sampling, merge_sampling(model, default_sampling()));
}

void check_sampling(const SamplingSettings& sampling, int64_t vocab_size, bool has_tokenizer) {
  if (!has_tokenizer && !sampling.stop->empty())
    throw UsageError("sampling.stop: the model has no tokenizer: stop strings cannot be found");
  for (const int32_t id : *sampling.stop_token_ids)
    if (id >= vocab_size)
      throw UsageError("sampling.stop_token_ids: id " + std::to_string(id) +
                       " is not below the vocabulary size " + std::to_string(vocab_size));
}

void check_activations(const RunConfig& config, const StoreFormat& format) {
  if (config.device.int8_activations && !format.quantised())
    throw UsageError("device.int8_activations: needs int8 or int4 weights; those of " +
                     config.model.path + " are " + format_name(format));
}

// Throws InfeasibleError where memory is too small for the least that a run can be: one row of one
// token, nothing of it resident that may rest elsewhere.
void check_memory(const RunConfig& config, const Backend& backend, const ModelLayout& layout) {
  RuntimeOptions options = runtime_options(config);
  fit_options(backend, options);
  MemoryRequest request = memory_request(options, backend.device->scratch_bytes());
  request.max_sequences = std::max(request.max_sequences, 1);
  request.token_budget = std::max(request.token_budget, request.max_sequences);
  request.prefetch_depth = std::max(request.prefetch_depth, 0);
  request.workload = {
      .rows = 1, .mean_prompt_tokens = 1, .longest_prompt_tokens = 1, .longest_row_tokens = 1};
  try {
    plan_run_memory(layout, request, options.host_memory);
  } catch (const InfeasibleError&) {
    if (request.kv_placement.kind != PlacementKind::kAuto) throw;
    request.kv_placement.kind = PlacementKind::kNvme;
    plan_run_memory(layout, request, options.host_memory);
  }
}

// What the run would be refused for after packing is found before it.
void check_before_packing(const RunConfig& config, const Checkpoint& checkpoint,
                          const PackOptions& packing, const LoadOptions& options) {
  const StoreFormat format = pack_format(checkpoint, packing);
  check_activations(config, format);
  const ModelConfig model = parse_model_config(checkpoint.config(), checkpoint.path());
  std::vector<std::string> ignored;  // noted when the store is there
  const SamplingSettings sampling = sampling_of(config, checkpoint, &ignored);
  check_sampling(sampling, model.vocab_size, !checkpoint.tokenizer().is_null());
  const ModelLayout layout = make_layout(model, format);
  check_memory(config, make_backend(config.device, kernel_limits(config.device, layout)), layout);
  options.before_packing({.fingerprint = pack_fingerprint(checkpoint, packing),
                          .format = format,
                          .sampling = sampling});
}

std::unique_ptr<Tokenizer> tokenizer_of(const PackedStore& store, const LoadOptions& options) {
  if (store.has_tokenizer()) return load_tokenizer(store.path());
  const std::string why = store.manifest().value("tokenizer_problem", "");
  options.note("the model has no tokenizer" + (why.empty() ? "" : " (" + why + ")") +
               ": rows must give prompt_token_ids, results have no text");
  return nullptr;
}

}  // namespace

PackOptions pack_options(const RunConfig::Weights& weights) {
  return {.dtype = weights.dtype,
          .group_size = weights.group_size,
          .asymmetric = weights.asymmetric,
          .quantise_head = weights.quantise_head};
}

LoadedModel load_model(const RunConfig& config, const LoadOptions& options) {
  check_runnable(config);
  if (!config.model.store.empty() && PackedStore::is_store(config.model.path))
    throw UsageError("model.store: " + config.model.path + " is a packed store already");
  PackOptions packing = pack_options(config.weights);
  packing.progress = options.packing;
  packing.before_packing = [&](const Checkpoint& checkpoint) {
    check_before_packing(config, checkpoint, packing, options);
  };
  PackedStore store = open_or_pack(config.model.path, config.model.store, options.cache_folder,
                                   packing, options.note);
  check_activations(config, store.format());
  auto tokenizer = tokenizer_of(store, options);
  std::vector<std::string> ignored;
  const SamplingSettings sampling = sampling_of(config, store, &ignored);
  for (const std::string& name : ignored)
    options.note("generation_config.json: " + name + " is not supported and does not count");
  check_sampling(sampling, store.config().vocab_size, tokenizer != nullptr);
  std::vector<int32_t> eos = eos_ids(store, tokenizer.get());
  Backend backend = make_backend(config.device, kernel_limits(config.device, store.layout()));
  return {.store = std::move(store),
          .tokenizer = std::move(tokenizer),
          .backend = std::move(backend),
          .sampling = sampling,
          .eos_ids = std::move(eos)};
}

RuntimeOptions runtime_options(const RunConfig& config) {
  RuntimeOptions options;
  options.placement = config.weights.placement;
  options.kv_placement = config.kv_cache.placement;
  options.kv_dtype = config.kv_cache.dtype;
  options.kv_directory = config.kv_cache.directory;
  options.host_memory = config.host.memory ? *config.host.memory : measure_host_memory().usable();
  options.device_memory = config.device.memory;
  options.max_sequences = config.batch.max_sequences.value_or(options.max_sequences);
  options.token_budget = config.batch.token_budget.value_or(options.token_budget);
  options.block_tokens = config.kv_cache.block_tokens;
  options.share_prefixes = config.kv_cache.share_prefixes;
  options.prefetch_depth = config.prefetch.depth.value_or(options.prefetch_depth);
  options.io_engine = config.nvme.engine;
  options.queue_depth = config.nvme.queue_depth.value_or(options.queue_depth);
  options.block_size = config.nvme.block_size.value_or(options.block_size);
  options.direct = config.nvme.direct;
  options.io_timeout_seconds = config.nvme.timeout;
  options.int8_activations = config.device.int8_activations;
  return options;
}

void fit_options(const Backend& backend, RuntimeOptions& options) {
  if (backend.device->shares_host_memory()) {
    options.host_memory =
        std::min(options.host_memory, options.device_memory.value_or(options.host_memory));
    options.device_memory.reset();
    return;
  }
  if (!options.device_memory)
    options.device_memory =
        static_cast<int64_t>(kUsableShare * static_cast<double>(backend.free_bytes));
}

}  // namespace zerostream
