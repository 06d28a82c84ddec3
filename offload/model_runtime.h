// A model made ready to run: its memory planned and taken, its weights loaded or streaming.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "base/device.h"
#include "base/kernels.h"
#include "base/timeline.h"
#include "nvme/io_engine.h"
#include "offload/kv_blocks.h"
#include "offload/kv_store.h"
#include "offload/layer_scheduler.h"
#include "offload/memory_plan.h"
#include "offload/packed_store.h"
#include "offload/placement.h"
#include "offload/run_statistics.h"

namespace zerostream {

struct RuntimeOptions {
  Placement placement;                        // of weights
  Placement kv_placement;                     // of keys and values
  std::optional<DType> kv_dtype;              // absent: the compute dtype
  std::string kv_directory;                   // for keys and values on storage; empty: the store's
  int64_t kv_slot_bytes = int64_t{16} << 20;  // of one fetch of keys and values from storage
  Workload workload;        // what the rows will be like; rows == 0: nothing is known
  int64_t host_memory = 0;  // most bytes of all pools in host memory together
  // Of a device with memory of its own: most bytes of all pools there.
  std::optional<int64_t> device_memory;
  int32_t max_sequences = 0;      // rows in a pass; 0: from memory
  int32_t token_budget = 0;       // tokens in a pass; 0: from memory
  int32_t block_tokens = 16;      // positions in a KV block
  bool share_prefixes = true;     // rows that begin with the same tokens share their KV blocks
  bool int8_activations = false;  // of products with quantised weights
  int32_t prefetch_depth = -1;    // segments fetched ahead; -1: chosen, 0: no overlap
  IoEngineKind io_engine = IoEngineKind::kAuto;
  int32_t queue_depth = 16;               // requests in flight
  int64_t block_size = int64_t{4} << 20;  // bytes of a request
  int32_t max_retries = 2;                // of a request that failed with EIO
  double io_timeout_seconds = 120;        // of a request, then the run fails; 0: none
  bool direct = true;                     // O_DIRECT where the file system has it
  std::optional<MemoryPlan> plan;  // how memory is divided; absent: as plan_run_memory() does
  std::function<std::unique_ptr<IoEngine>()> make_engine;  // instead of io_engine (tests: faults)
  Timeline* timeline = nullptr;  // gets spans of what happens, if anybody wants them
};

// What plan_run_memory() is asked for a run with these options, beside options.host_memory.
// scratch_bytes: of the device.
MemoryRequest memory_request(const RuntimeOptions& options, int64_t scratch_bytes);

// Owns what a LayerScheduler works with. Errors of the constructor: InfeasibleError when the pools
// do not fit, with the bytes of each; CheckpointError for damaged weights; IoError. Threads: one.
class ModelRuntime {
 public:
  // store, device and kernels must outlive this.
  ModelRuntime(const PackedStore& store, Device& device, Kernels& kernels,
               const RuntimeOptions& options);
  ~ModelRuntime();

  const PackedStore& store() const;
  const MemoryPlan& plan() const;
  KvStore& kv();
  KvBlocks& kv_blocks();  // who holds which block of kv()
  LayerScheduler& scheduler();
  // The longest prompt + output of one row: what the KV cache holds, at most the model's own limit.
  int64_t max_context() const;
  // What is known of memory, loading, stalls, reads and arithmetic so far; tokens and passes are
  // its user's to count.
  void update(RunStatistics& statistics) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace zerostream
