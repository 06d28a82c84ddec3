#include "offload/run_config.h"

#include <filesystem>

#include "offload/config_keys.h"
#include "offload/placement_value.h"
#include "offload/segment_layout.h"
#include "offload/yaml_tree.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

void apply_section(const std::string& name, const YamlNode& section, const std::string& file,
                   RunConfig& config) {
  const auto origin = [&](const YamlNode& node) { return file + ":" + std::to_string(node.line); };
  if (!is_config_section(name)) refuse_section(name, origin(section));
  if (!section.is_map && section.json().is_null()) return;
  if (!section.is_map)
    throw UsageError(origin(section) + ": section " + name + " is not a list of keys");
  const std::string folder = std::filesystem::path(file).parent_path().string();
  for (size_t i = 0; i < section.items.size(); ++i)
    apply_setting({.key = name + "." + section.keys[i],
                   .value = section.items[i].json(),
                   .origin = origin(section.items[i]),
                   .folder = folder},
                  config);
}

void apply_file(const std::string& path, RunConfig& config) {
  if (path.find('=') != path.npos && !std::filesystem::exists(path))
    throw UsageError(path + ": there is no such run file; every KEY=VALUE needs a --set before it");
  const YamlNode root = read_yaml(path, "the run file");
  if (!root.is_map && root.json().is_null()) return;
  if (!root.is_map) throw UsageError(path + ":1: a run file is a list of sections");
  for (size_t i = 0; i < root.items.size(); ++i)
    apply_section(root.keys[i], root.items[i], path, config);
}

void apply_override(const ConfigOverride& given, RunConfig& config) {
  const std::string section = given.key.substr(0, given.key.find('.'));
  if (!is_config_section(section)) refuse_section(section, given.flag);
  if (section == given.key)
    throw UsageError(given.flag + ": " + section + " is a section; give " + section + ".KEY");
  const bool plain = given.literal || given.value == "-";  // to YAML, "-" begins a list
  const Json value = plain ? Json(given.value) : parse_yaml(given.value, given.flag).json();
  apply_setting({.key = given.key, .value = value, .origin = given.flag, .folder = ""}, config);
}

std::string report_beside(const std::string& output) {
  if (output == "-") return {};
  std::filesystem::path path(output);
  return path.replace_extension(".report.json").string();
}

template <typename T>
Json value_or_auto(const std::optional<T>& value) {
  return value ? Json(*value) : Json("auto");
}

Json dtype_or_auto(const std::optional<DType>& dtype) {
  return dtype ? Json(std::string(dtype_name(*dtype))) : Json("auto");
}

Json path_or_null(const std::string& path) { return path.empty() ? Json() : Json(path); }

std::string engine_name(IoEngineKind kind) {
  switch (kind) {
    case IoEngineKind::kAuto:
      return "auto";
    case IoEngineKind::kUring:
      return "io_uring";
    case IoEngineKind::kLibaio:
      return "libaio";
    case IoEngineKind::kThreads:
      return "threads";
  }
  return {};
}

}  // namespace

RunConfig load_run_config(const std::string& path, const std::vector<ConfigOverride>& overrides) {
  RunConfig config;
  if (!path.empty()) apply_file(path, config);
  for (const ConfigOverride& given : overrides) apply_override(given, config);
  if (!config.job.report) config.job.report = report_beside(config.job.output);
  return config;
}

void check_job(const RunConfig& config) {
  const std::string &input = config.job.input, &output = config.job.output;
  const std::string report = config.job.report.value(), &trace = config.job.trace;
  if (config.model.path.empty()) throw UsageError("model.path is missing (or --model)");
  if (input.empty()) throw UsageError("job.input is missing (or --input)");
  if (output.empty()) throw UsageError("job.output is missing (or --output)");
  if (config.model.path == "-") throw UsageError("model.path: a model cannot be read from stdin");
  if (report == "-") throw UsageError("job.report: stdout is for rows; name a file");
  if (trace == "-") throw UsageError("job.trace: stdout is for rows; name a file");
  const auto same = [](const std::string& a, const std::string& b) {
    if (a.empty() || b.empty() || a == "-" || b == "-") return false;
    std::error_code error;
    return std::filesystem::equivalent(a, b, error) ||
           std::filesystem::absolute(a).lexically_normal() ==
               std::filesystem::absolute(b).lexically_normal();
  };
  if (same(input, output)) throw UsageError("job.output: " + output + " is also job.input");
  if (same(input, report)) throw UsageError("job.report: " + report + " is also job.input");
  if (same(output, report)) throw UsageError("job.report: " + report + " is also job.output");
  if (same(input, trace)) throw UsageError("job.trace: " + trace + " is also job.input");
  if (same(output, trace)) throw UsageError("job.trace: " + trace + " is also job.output");
  if (same(report, trace)) throw UsageError("job.trace: " + trace + " is also job.report");
}

void check_runnable(const RunConfig& config) {
  const std::string& kv = config.kv_cache.directory;
  if (!kv.empty() && !std::filesystem::is_directory(kv))
    throw UsageError("kv_cache.directory: there is no folder " + kv);
  if (config.parallel.ranks != 1)
    throw UsageError("parallel.ranks: several are not supported yet, but for plan and simulate");
}

ConfigOverride parse_override(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == 0 || equals == std::string::npos)
    throw UsageError("--set " + text + ": expected key=value, such as nvme.queue_depth=64");
  const std::string key = text.substr(0, equals);
  return {.key = key, .value = text.substr(equals + 1), .flag = "--set " + key};
}

Json run_config_json(const RunConfig& config) {
  return {
      {"model", {{"path", config.model.path}, {"store", path_or_null(config.model.store)}}},
      {"device",
       {{"type", config.device.type == DeviceKind::kCuda ? "cuda" : "cpu"},
        {"threads", config.device.threads},
        {"memory", value_or_auto(config.device.memory)},
        {"int8_activations", config.device.int8_activations},
        {"batch_invariant", config.device.batch_invariant},
        {"module", path_or_null(config.device.module)}}},
      {"host", {{"memory", value_or_auto(config.host.memory)}}},
      {"weights",
       {{"placement", placement_json(config.weights.placement)},
        {"dtype", dtype_or_auto(config.weights.dtype)},
        {"group_size", config.weights.group_size.value_or(kDefaultGroupSize)},
        {"asymmetric", config.weights.asymmetric},
        {"quantise_head", config.weights.quantise_head}}},
      {"nvme",
       {{"engine", engine_name(config.nvme.engine)},
        {"queue_depth", value_or_auto(config.nvme.queue_depth)},
        {"block_size", value_or_auto(config.nvme.block_size)},
        {"direct", config.nvme.direct},
        {"timeout", config.nvme.timeout}}},
      {"prefetch", {{"depth", value_or_auto(config.prefetch.depth)}}},
      {"kv_cache",
       {{"placement", placement_json(config.kv_cache.placement)},
        {"directory", path_or_null(config.kv_cache.directory)},
        {"dtype", dtype_or_auto(config.kv_cache.dtype)},
        {"block_tokens", config.kv_cache.block_tokens},
        {"share_prefixes", config.kv_cache.share_prefixes}}},
      {"batch",
       {{"max_sequences", value_or_auto(config.batch.max_sequences)},
        {"token_budget", value_or_auto(config.batch.token_budget)}}},
      {"sampling", sampling_json(config.sampling)},
      {"parallel", {{"ranks", config.parallel.ranks}}},
      {"job",
       {{"input", config.job.input},
        {"output", config.job.output},
        {"report", path_or_null(config.job.report.value_or(""))},
        {"resume", config.job.resume},
        {"trace", path_or_null(config.job.trace)},
        {"over_length", config.job.over_length == OverLength::kError ? "error" : "truncate"}}},
  };
}

}  // namespace zerostream
