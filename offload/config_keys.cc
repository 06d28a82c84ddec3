#include "offload/config_keys.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <iterator>
#include <limits>

#include "base/buffer.h"
#include "base/tensor.h"
#include "offload/json_values.h"
#include "offload/nearest_name.h"
#include "offload/packed_store.h"
#include "offload/placement_value.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr int64_t kMostBytes = std::numeric_limits<int64_t>::max();
constexpr int32_t kMostThreads = 4096;
constexpr int32_t kMostQueueDepth = 4096;
constexpr int32_t kMostPrefetchDepth = 1024;
constexpr int32_t kMostBlockTokens = 1024;
constexpr int32_t kMostSequences = 1 << 20;
constexpr int32_t kMostTokenBudget = 1 << 24;

constexpr std::array<std::string_view, 11> kSections = {
    "model",    "device", "host",     "weights",  "nvme", "prefetch",
    "kv_cache", "batch",  "sampling", "parallel", "job"};

// A value that is good but belongs to a feature that does not exist yet.
struct NotYet {
  std::string what;
};

template <size_t kSize>
size_t choice(const Json& value, const std::array<std::string_view, kSize>& names) {
  return read_choice(value, names);
}

std::string path_value(const ConfigSetting& setting) {
  const std::string path = read_string(setting.value, "a path");
  if (path == "-" || setting.folder.empty() || std::filesystem::path(path).is_absolute())
    return path;
  return (std::filesystem::path(setting.folder) / path).lexically_normal().string();
}

std::string path_or_none(const ConfigSetting& setting) {
  return setting.value.is_null() ? std::string() : path_value(setting);
}

std::optional<int64_t> memory_value(const Json& value) {
  return read_or_auto(value, [](const Json& v) { return read_size(v, 1, kMostBytes); });
}

template <int64_t kLow, int64_t kHigh>
std::optional<int32_t> count_or_auto(const Json& value) {
  return read_or_auto(
      value, [](const Json& v) { return static_cast<int32_t>(read_integer(v, kLow, kHigh)); });
}

void set_device_type(const Json& value, RunConfig& config) {
  constexpr std::array<std::string_view, 3> kNames = {"auto", "cpu", "cuda"};
  constexpr std::optional<DeviceKind> kKinds[] = {std::nullopt, DeviceKind::kCpu,
                                                  DeviceKind::kCuda};
  config.device.type = kKinds[choice(value, kNames)];
}

void set_dtype(const Json& value, RunConfig& config) {
  constexpr std::array<std::string_view, 6> kNames = {"auto", "fp32", "fp16",
                                                      "bf16", "int8", "int4"};
  const size_t index = choice(value, kNames);
  config.weights.dtype = index == 0 ? std::nullopt : dtype_from_name(kNames[index]);
}

int32_t group_size_value(const Json& value) {
  const bool known = value == 32 || value == 64 || value == 128;
  if (!known || !value.is_number_integer()) throw BadValue{"32, 64 or 128"};
  return value.get<int32_t>();
}

void set_engine(const Json& value, RunConfig& config) {
  constexpr std::array<std::string_view, 4> kNames = {"auto", "io_uring", "libaio", "threads"};
  constexpr IoEngineKind kKinds[] = {IoEngineKind::kAuto, IoEngineKind::kUring,
                                     IoEngineKind::kLibaio, IoEngineKind::kThreads};
  config.nvme.engine = kKinds[choice(value, kNames)];
}

void set_block_size(const Json& value, RunConfig& config) {
  config.nvme.block_size = read_or_auto(value, [](const Json& v) {
    const int64_t bytes = read_size(v, kTileBytes, kMaxSegmentBytes);
    if (bytes % kTileBytes != 0) throw BadValue{"a multiple of 4 KiB"};
    return bytes;
  });
}

void set_kv_dtype(const Json& value, RunConfig& config) {
  constexpr std::array<std::string_view, 5> kNames = {"auto", "fp32", "fp16", "bf16", "int8"};
  const size_t index = choice(value, kNames);
  config.kv_cache.dtype = index == 0 ? std::nullopt : dtype_from_name(kNames[index]);
}

void set_over_length(const Json& value, RunConfig& config) {
  constexpr std::array<std::string_view, 2> kNames = {"error", "truncate"};
  config.job.over_length = choice(value, kNames) == 0 ? OverLength::kError : OverLength::kTruncate;
}

struct Key {
  std::string_view name;
  void (*set)(const ConfigSetting&, RunConfig&);
};

constexpr Key kKeys[] = {
    {"model.path", [](auto& s, auto& c) { c.model.path = path_value(s); }},
    {"model.store", [](auto& s, auto& c) { c.model.store = path_or_none(s); }},
    {"device.type", [](auto& s, auto& c) { set_device_type(s.value, c); }},
    {"device.threads",
     [](auto& s, auto& c) {
       c.device.threads = static_cast<int32_t>(read_integer(s.value, 0, kMostThreads));
     }},
    {"device.memory", [](auto& s, auto& c) { c.device.memory = memory_value(s.value); }},
    {"device.int8_activations",
     [](auto& s, auto& c) { c.device.int8_activations = read_bool(s.value); }},
    {"device.batch_invariant",
     [](auto& s, auto& c) { c.device.batch_invariant = read_bool(s.value); }},
    {"device.module", [](auto& s, auto& c) { c.device.module = path_or_none(s); }},
    {"host.memory", [](auto& s, auto& c) { c.host.memory = memory_value(s.value); }},
    {"weights.placement", [](auto& s, auto& c) { c.weights.placement = read_placement(s.value); }},
    {"weights.dtype", [](auto& s, auto& c) { set_dtype(s.value, c); }},
    {"weights.group_size",
     [](auto& s, auto& c) { c.weights.group_size = group_size_value(s.value); }},
    {"weights.asymmetric", [](auto& s, auto& c) { c.weights.asymmetric = read_bool(s.value); }},
    {"weights.quantise_head",
     [](auto& s, auto& c) { c.weights.quantise_head = read_bool(s.value); }},
    {"nvme.engine", [](auto& s, auto& c) { set_engine(s.value, c); }},
    {"nvme.queue_depth",
     [](auto& s, auto& c) { c.nvme.queue_depth = count_or_auto<1, kMostQueueDepth>(s.value); }},
    {"nvme.block_size", [](auto& s, auto& c) { set_block_size(s.value, c); }},
    {"nvme.direct", [](auto& s, auto& c) { c.nvme.direct = read_bool(s.value); }},
    {"nvme.timeout",
     [](auto& s, auto& c) { c.nvme.timeout = read_number(s.value, {.low = 0, .high = 1e6}); }},
    {"prefetch.depth",
     [](auto& s, auto& c) { c.prefetch.depth = count_or_auto<0, kMostPrefetchDepth>(s.value); }},
    {"kv_cache.placement",
     [](auto& s, auto& c) { c.kv_cache.placement = read_placement(s.value); }},
    {"kv_cache.directory", [](auto& s, auto& c) { c.kv_cache.directory = path_or_none(s); }},
    {"kv_cache.dtype", [](auto& s, auto& c) { set_kv_dtype(s.value, c); }},
    {"kv_cache.block_tokens",
     [](auto& s, auto& c) {
       c.kv_cache.block_tokens = static_cast<int32_t>(read_integer(s.value, 1, kMostBlockTokens));
     }},
    {"kv_cache.share_prefixes",
     [](auto& s, auto& c) { c.kv_cache.share_prefixes = read_bool(s.value); }},
    {"batch.max_sequences",
     [](auto& s, auto& c) { c.batch.max_sequences = count_or_auto<1, kMostSequences>(s.value); }},
    {"batch.token_budget",
     [](auto& s, auto& c) { c.batch.token_budget = count_or_auto<1, kMostTokenBudget>(s.value); }},
    {"parallel.ranks",
     [](auto& s, auto& c) {
       c.parallel.ranks = static_cast<int32_t>(read_integer(s.value, 1, kMostThreads));
     }},
    {"job.input", [](auto& s, auto& c) { c.job.input = path_value(s); }},
    {"job.output", [](auto& s, auto& c) { c.job.output = path_value(s); }},
    {"job.report", [](auto& s, auto& c) { c.job.report = path_or_none(s); }},
    {"job.resume", [](auto& s, auto& c) { c.job.resume = read_bool(s.value); }},
    {"job.trace", [](auto& s, auto& c) { c.job.trace = path_or_none(s); }},
    {"job.over_length", [](auto& s, auto& c) { set_over_length(s.value, c); }},
};

constexpr std::string_view kSamplingPrefix = "sampling.";

bool set_known_key(const ConfigSetting& setting, RunConfig& config) {
  const auto key = std::find_if(std::begin(kKeys), std::end(kKeys),
                                [&](const Key& known) { return known.name == setting.key; });
  if (key != std::end(kKeys)) {
    key->set(setting, config);
    return true;
  }
  if (!setting.key.starts_with(kSamplingPrefix)) return false;
  const auto names = sampling_names();
  const std::string_view name = std::string_view(setting.key).substr(kSamplingPrefix.size());
  if (std::find(names.begin(), names.end(), name) == names.end()) return false;
  set_sampling(config.sampling, name, setting.value);
  return true;
}

[[noreturn]] void refuse_key(const ConfigSetting& setting) {
  const size_t dot = setting.key.find('.');
  const std::string section = setting.key.substr(0, dot);
  std::vector<std::string_view> known;
  for (const Key& key : kKeys)
    if (key.name.starts_with(section + ".")) known.push_back(key.name.substr(dot + 1));
  if (section == "sampling") known.assign(sampling_names().begin(), sampling_names().end());
  const std::string name = setting.key.substr(dot + 1);
  throw UsageError(setting.origin + ": unknown key \"" + name + "\" in section " + section +
                   suggest_name(name, known));
}

}  // namespace

bool is_config_section(const std::string& name) {
  return std::find(kSections.begin(), kSections.end(), name) != kSections.end();
}

void refuse_section(const std::string& name, const std::string& origin) {
  throw UsageError(origin + ": unknown section \"" + name + "\"" + suggest_name(name, kSections));
}

void apply_setting(const ConfigSetting& setting, RunConfig& config) {
  try {
    if (set_known_key(setting, config)) return;
  } catch (const BadValue& bad) {
    throw UsageError(setting.origin + ": " + setting.key + ": " + show_value(setting.value) +
                     " is not " + bad.expected);
  } catch (const NotYet& feature) {
    throw UsageError(setting.origin + ": " + setting.key + ": " + show_value(setting.value) + ": " +
                     feature.what + " not supported yet");
  }
  refuse_key(setting);
}

}  // namespace zerostream
