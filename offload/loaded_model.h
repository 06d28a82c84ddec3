// A model as a run file names it: its store, tokenizer, device and sampling defaults.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "offload/backend.h"
#include "offload/model_runtime.h"
#include "offload/pack.h"
#include "offload/packed_store.h"
#include "offload/run_config.h"

namespace zerostream {

// What is known of a model before it is packed.
struct ModelPreview {
  std::string fingerprint;  // of the store, as is the format
  StoreFormat format;
  SamplingSettings sampling;  // as in LoadedModel
};

struct LoadOptions {
  std::string cache_folder;                                  // where packed stores are kept
  std::function<void(const std::string&)> note;              // lines for people
  std::function<void(int64_t done, int64_t total)> packing;  // bytes; may throw to give up
  // Called before a model is packed; may throw to prevent it.
  std::function<void(const ModelPreview&)> before_packing = [](const ModelPreview&) {};
};

struct LoadedModel {
  PackedStore store;
  std::unique_ptr<Tokenizer> tokenizer;  // null: the model has none
  Backend backend;
  SamplingSettings sampling;     // every member set: run file, generation_config.json, defaults
  std::vector<int32_t> eos_ids;  // of generation_config.json, config.json and the tokenizer, sorted
};

// Opens the model, packing it first where needed and nothing that can be known before speaks
// against it. Throws CheckpointError, IoError, DeviceError, InfeasibleError (memory that no run
// could do with), UsageError (the run file asks for another dtype than the store's, or for stop
// strings of a model without a tokenizer).
LoadedModel load_model(const RunConfig& config, const LoadOptions& options);

// How the run file wants a checkpoint packed.
PackOptions pack_options(const RunConfig::Weights& weights);

// What the run file says of memory, weights, I/O and batches. An absent host.memory becomes what
// the machine can give now.
RuntimeOptions runtime_options(const RunConfig& config);

// Makes the options those of a run on this backend. A device with memory of its own: an absent
// device.memory becomes 95 % of what is free. Others: device.memory bounds host memory.
void fit_options(const Backend& backend, RuntimeOptions& options);

}  // namespace zerostream
