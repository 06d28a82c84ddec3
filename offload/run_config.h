// A run, as its file and flags describe it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/device.h"
#include "base/dtype.h"
#include "nvme/io_engine.h"
#include "offload/placement.h"
#include "offload/sampling_settings.h"

namespace zerostream {

enum class OverLength : uint8_t { kError, kTruncate };

// Members follow the sections and keys of the run file; an absent optional is `auto`. Keys whose
// features do not exist yet are accepted in the values that mean "not used" and have no member.
struct RunConfig {
  struct Model {
    std::string path;   // HF folder, GGUF file or packed store
    std::string store;  // folder of the packed store; empty: in the cache folder
  } model;
  struct Device {
    std::optional<DeviceKind> type;  // absent: a GPU where one can be used, else the CPU
    int32_t threads = 0;             // 0: all cores
    std::optional<int64_t> memory;   // most bytes on the device; on the CPU a bound of the host's
    bool int8_activations = false;   // multiply quantised weights with activations in int8
    bool batch_invariant = false;    // on GPUs: rows never change each other's bits
    std::string module;              // file that brings cuda devices; empty: found by its name
  } device;
  struct Host {
    std::optional<int64_t> memory;  // most bytes of all pools
  } host;
  struct Weights {
    Placement placement;
    std::optional<DType> dtype;         // absent: as stored
    std::optional<int32_t> group_size;  // of int8 and int4; absent: 64, or as the store is
    bool asymmetric = false;            // int8 and int4: groups have zeros of their own
    bool quantise_head = false;         // int8 and int4: the head, too
  } weights;
  struct Nvme {
    IoEngineKind engine = IoEngineKind::kAuto;
    std::optional<int32_t> queue_depth;  // requests in flight
    std::optional<int64_t> block_size;   // bytes of one request
    bool direct = true;
    double timeout = 120;  // seconds that a request may take; 0: any
  } nvme;
  struct Prefetch {
    std::optional<int32_t> depth;  // segments ahead of compute
  } prefetch;
  struct KvCache {
    Placement placement;
    std::optional<DType> dtype;  // absent: that of the arithmetic
    std::string directory;       // of keys and values on storage; empty: the store's
    int32_t block_tokens = 16;
    bool share_prefixes = true;  // rows that begin with the same tokens share memory
  } kv_cache;
  struct Batch {
    std::optional<int32_t> max_sequences, token_budget;
  } batch;
  SamplingSettings sampling;
  struct Parallel {
    int32_t ranks = 1;
  } parallel;
  struct Job {
    std::string input, output;          // "-": stdin, stdout
    std::optional<std::string> report;  // empty: none; always set by load_run_config()
    bool resume = true;
    std::string trace;  // empty: none
    OverLength over_length = OverLength::kError;
  } job;
};

// One setting from the command line.
struct ConfigOverride {
  std::string key;    // "nvme.queue_depth"
  std::string value;  // YAML, or a plain string if `literal`
  std::string flag;   // as the user wrote it, for messages: "--set nvme.queue_depth"
  bool literal = false;
};

// Reads a run file (none if `path` is empty) and puts the overrides, in order, over it. Relative
// paths in the file are relative to the file's folder, in overrides to the working folder. Where
// `job.report` is not given it stands beside the output: out.jsonl has out.report.json.
// Throws UsageError with file and line (or flag), key, value and what was expected: YAML that
// cannot be read, unknown keys (with the nearest known one), keys given twice, anchors and aliases,
// values of a wrong type or range or that are not supported yet.
RunConfig load_run_config(const std::string& path, const std::vector<ConfigOverride>& overrides);

// Throws UsageError unless the config says what a job needs: model.path, job.input, job.output, and
// no file in two roles.
void check_job(const RunConfig& config);

// Throws UsageError where the config names what can be planned, but not run: several ranks, a
// kv_cache.directory that is not there.
void check_runnable(const RunConfig& config);

// Splits "a.b=value" as given to --set. Throws UsageError.
ConfigOverride parse_override(const std::string& text);

// Every key of the run file with its value.
Json run_config_json(const RunConfig& config);

}  // namespace zerostream
