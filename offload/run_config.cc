#include "offload/run_config.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include "offload/config_keys.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

// A YAML value with the line that it begins on; maps keep their keys in `keys`.
struct YamlNode {
  int line = 0;
  Json scalar;
  bool is_map = false, is_sequence = false;
  std::vector<std::string> keys;
  std::vector<YamlNode> items;

  Json json() const {
    if (!is_map && !is_sequence) return scalar;
    Json json = is_map ? Json::object() : Json::array();
    for (size_t i = 0; i < items.size(); ++i)
      is_map ? void(json[keys[i]] = items[i].json()) : json.push_back(items[i].json());
    return json;
  }
};

template <typename T>
std::optional<T> whole_number(const std::string& text) {
  T number{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  return error == std::errc() && stop == end ? std::optional<T>(number) : std::nullopt;
}

// A plain scalar by YAML's core schema, decimal numbers only.
Json plain_scalar(const std::string& text) {
  if (text.empty() || text == "~" || text == "null") return nullptr;
  if (text == "true" || text == "false") return text == "true";
  if (const auto number = whole_number<int64_t>(text)) return *number;
  if (const auto number = whole_number<uint64_t>(text)) return *number;
  const bool numeric = text.find_first_not_of("+-.0123456789eE") == std::string::npos;
  if (const auto number = whole_number<double>(text); number && numeric) return *number;
  return text;
}

// Builds a YamlNode from the parser's events; refuses what run files do not use.
class TreeBuilder : public YAML::EventHandler {
 public:
  explicit TreeBuilder(std::string source) : source_(std::move(source)) {}
  const YamlNode& root() const { return root_; }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    refuse(anchor != 0, mark, "anchors are not supported");
    add(mark, nullptr);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    refuse(true, mark, "aliases are not supported");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    check(mark, tag, anchor);
    if (expects_key()) {
      open_.back()->keys.push_back(value);
    } else {
      add(mark, tag == "!" ? Json(value) : plain_scalar(value));
    }
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    check(mark, tag, anchor);
    open(mark)->is_sequence = true;
  }
  void OnSequenceEnd() override { open_.pop_back(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    check(mark, tag, anchor);
    open(mark)->is_map = true;
  }
  void OnMapEnd() override { open_.pop_back(); }

  std::string place(const YAML::Mark& mark) const {
    return source_ + ":" + std::to_string(mark.line + 1);
  }

 private:
  bool expects_key() const {
    return !open_.empty() && open_.back()->is_map &&
           open_.back()->keys.size() == open_.back()->items.size();
  }
  YamlNode* add(const YAML::Mark& mark, Json scalar) {
    refuse(expects_key(), mark, "keys must be names");
    YamlNode* node = &root_;
    if (!open_.empty()) node = &open_.back()->items.emplace_back();
    node->line = mark.line + 1;
    node->scalar = std::move(scalar);
    return node;
  }
  YamlNode* open(const YAML::Mark& mark) { return open_.emplace_back(add(mark, nullptr)); }
  void check(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) const {
    refuse(anchor != 0, mark, "anchors are not supported");
    refuse(!tag.empty() && tag != "?" && tag != "!", mark, "tags are not supported");
  }
  void refuse(bool wrong, const YAML::Mark& mark, const char* why) const {
    if (wrong) throw UsageError(place(mark) + ": " + why);
  }

  std::string source_;
  YamlNode root_;
  std::vector<YamlNode*> open_;  // from the root to the innermost; parents do not grow meanwhile
};

YamlNode parse_yaml(const std::string& text, const std::string& source) {
  TreeBuilder builder(source);
  std::istringstream stream(text);
  try {
    YAML::Parser parser(stream);
    parser.HandleNextDocument(builder);
    TreeBuilder rest(source);
    if (parser.HandleNextDocument(rest))
      throw UsageError(source + ": holds more than one YAML document");
  } catch (const YAML::Exception& error) {
    throw UsageError(builder.place(error.mark) + ": " + error.msg);
  }
  return builder.root();
}

void refuse_duplicates(const YamlNode& map, const std::string& source) {
  for (size_t i = 0; i < map.keys.size(); ++i)
    if (std::count(map.keys.begin(), map.keys.begin() + i, map.keys[i]) > 0)
      throw UsageError(source + ":" + std::to_string(map.items[i].line) + ": key \"" + map.keys[i] +
                       "\" is given twice");
}

void apply_section(const std::string& name, const YamlNode& section, const std::string& file,
                   RunConfig& config) {
  const auto origin = [&](const YamlNode& node) { return file + ":" + std::to_string(node.line); };
  if (!is_config_section(name)) refuse_section(name, origin(section));
  if (!section.is_map && section.json().is_null()) return;
  if (!section.is_map)
    throw UsageError(origin(section) + ": section " + name + " is not a list of keys");
  refuse_duplicates(section, file);
  const std::string folder = std::filesystem::path(file).parent_path().string();
  for (size_t i = 0; i < section.items.size(); ++i)
    apply_setting({.key = name + "." + section.keys[i],
                   .value = section.items[i].json(),
                   .origin = origin(section.items[i]),
                   .folder = folder},
                  config);
}

void apply_file(const std::string& path, RunConfig& config) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream.good() || std::filesystem::is_directory(path))
    throw UsageError(path + ": the run file cannot be read");
  const std::string text{std::istreambuf_iterator<char>(stream), {}};
  const YamlNode root = parse_yaml(text, path);
  if (!root.is_map && root.json().is_null()) return;
  if (!root.is_map) throw UsageError(path + ":1: a run file is a list of sections");
  refuse_duplicates(root, path);
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

Json path_or_null(const std::string& path) { return path.empty() ? Json() : Json(path); }

std::string placement_name(PlacementKind kind) {
  switch (kind) {
    case PlacementKind::kAuto:
      return "auto";
    case PlacementKind::kHost:
      return "host";
    case PlacementKind::kNvme:
      return "nvme";
  }
  return {};
}

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
  const std::string report = config.job.report.value();
  if (config.model.path.empty()) throw UsageError("model.path is missing (or --model)");
  if (input.empty()) throw UsageError("job.input is missing (or --input)");
  if (output.empty()) throw UsageError("job.output is missing (or --output)");
  if (config.model.path == "-") throw UsageError("model.path: a model cannot be read from stdin");
  if (report == "-") throw UsageError("job.report: stdout is for rows; name a file");
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
}

ConfigOverride parse_override(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == 0 || equals == std::string::npos)
    throw UsageError("--set " + text + ": expected key=value, such as nvme.queue_depth=64");
  const std::string key = text.substr(0, equals);
  return {.key = key, .value = text.substr(equals + 1), .flag = "--set " + key};
}

Json run_config_json(const RunConfig& config) {
  const Json dtype =
      config.weights.dtype ? Json(std::string(dtype_name(*config.weights.dtype))) : Json("auto");
  return {
      {"model", {{"path", config.model.path}, {"store", path_or_null(config.model.store)}}},
      {"device",
       {{"type", "cpu"},
        {"threads", config.device.threads},
        {"memory", value_or_auto(config.device.memory)},
        {"int8_activations", false}}},
      {"host", {{"memory", value_or_auto(config.host.memory)}}},
      {"weights",
       {{"placement", placement_name(config.weights.placement)},
        {"dtype", dtype},
        {"group_size", 64}}},
      {"nvme",
       {{"engine", engine_name(config.nvme.engine)},
        {"queue_depth", value_or_auto(config.nvme.queue_depth)},
        {"block_size", value_or_auto(config.nvme.block_size)},
        {"direct", config.nvme.direct}}},
      {"prefetch", {{"depth", value_or_auto(config.prefetch.depth)}}},
      {"kv_cache",
       {{"placement", "host"}, {"dtype", "auto"}, {"block_tokens", config.kv_cache.block_tokens}}},
      {"batch",
       {{"max_sequences", value_or_auto(config.batch.max_sequences)},
        {"token_budget", value_or_auto(config.batch.token_budget)}}},
      {"sampling", sampling_json(config.sampling)},
      {"parallel", {{"ranks", 1}}},
      {"job",
       {{"input", config.job.input},
        {"output", config.job.output},
        {"report", path_or_null(config.job.report.value_or(""))},
        {"resume", config.job.resume},
        {"trace", nullptr},
        {"over_length", config.job.over_length == OverLength::kError ? "error" : "truncate"}}},
  };
}

}  // namespace zerostream
