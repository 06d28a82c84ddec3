// What a run did, counted as it goes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace zerostream {

// Bytes of one pool of memory, as allocated.
struct PoolBytes {
  std::string name;  // "slots", "resident weights", "kv cache", "activations", "logits", "vectors"
  int64_t bytes = 0;
};

struct RunStatistics {
  int64_t prompt_tokens = 0;  // computed; those of paused rows again
  int64_t reused_tokens = 0;  // found in KV blocks of other rows, or of the row before its pause
  int64_t generated_tokens = 0;
  int64_t rows_active = 0;     // in the last pass
  int64_t paused_rows = 0;     // times that a row gave up its KV blocks to older ones
  int64_t prefill_passes = 0;  // passes with any prompt token
  int64_t decode_passes = 0;
  double prefill_seconds = 0;
  double decode_seconds = 0;
  double load_seconds = 0;  // resident weights and vectors, before the first pass
  double stall_weights_seconds = 0;
  double stall_kv_seconds = 0;
  int64_t kv_bytes_read = 0;     // from storage
  int64_t kv_bytes_written = 0;  // to storage
  double flops = 0;              // of matrix products, 2 per multiply-add
  int64_t weights_bytes = 0;
  int64_t resident_bytes = 0;  // of weights in the memory of the device
  int64_t host_bytes = 0;      // of weights in host memory beside it
  bool own_memory = false;     // the device does not share the host's memory
  int64_t streamed_bytes_per_pass = 0;
  int64_t bytes_read = 0;  // by the engine of the prefetcher
  double reading_seconds = 0;
  std::string io_engine;  // name
  bool io_direct = false;
  std::vector<std::string> notes;     // fallbacks that were taken, for people
  std::vector<PoolBytes> pools;       // of the device
  std::vector<PoolBytes> host_pools;  // beside a device with memory of its own
};

}  // namespace zerostream
