#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <span>

#include "offload/hardware_profile.h"
#include "offload/json_values.h"
#include "offload/nearest_name.h"
#include "offload/yaml_tree.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr int64_t kMostBytes = std::numeric_limits<int64_t>::max();
constexpr int64_t kMostRows = int64_t{1} << 31;
constexpr double kMostRate = 1e21;
constexpr std::array<std::string_view, 2> kDevices = {"cpu", "cuda"};
constexpr std::array<std::string_view, 2> kLayouts = {"tile64", "rows"};
constexpr std::array<std::string_view, 5> kWeights = {"fp32", "fp16", "bf16", "int8", "int4"};

// A value of the file with its full name.
class Value {
 public:
  Value(const YamlNode& node, std::string name, const std::string& file)
      : node_(&node), name_(std::move(name)), file_(&file) {}

  [[noreturn]] void refuse(const std::string& why) const {
    throw UsageError(*file_ + ":" + std::to_string(std::max(node_->line, 1)) + ": " +
                     (name_.empty() ? "" : name_ + ": ") + why);
  }

  // What `read` makes of the value; it throws BadValue.
  template <typename Read>
  auto as(Read read) const {
    const Json json = node_->json();
    try {
      return read(json);
    } catch (const BadValue& bad) {
      refuse(show_value(json) + " is not " + bad.expected);
    }
  }

  bool is_map() const { return node_->is_map; }

  // The value is a map without other keys than these.
  void expect_keys(std::span<const std::string_view> known) const {
    if (!is_map()) refuse("is not a list of keys");
    for (size_t i = 0; i < node_->keys.size(); ++i)
      if (std::find(known.begin(), known.end(), node_->keys[i]) == known.end())
        Value(node_->items[i], name_, *file_)
            .refuse("unknown key \"" + node_->keys[i] + "\"" + suggest_name(node_->keys[i], known));
  }
  std::optional<Value> find(const std::string& key) const {
    const auto found = std::find(node_->keys.begin(), node_->keys.end(), key);
    if (found == node_->keys.end()) return std::nullopt;
    return Value(node_->items[found - node_->keys.begin()], name_.empty() ? key : name_ + "." + key,
                 *file_);
  }
  Value at(const std::string& key) const {
    if (const auto value = find(key)) return *value;
    refuse("key \"" + key + "\" is missing");
  }
  std::vector<Value> items() const {
    if (!node_->is_sequence) refuse("is not a list");
    std::vector<Value> values;
    for (size_t i = 0; i < node_->items.size(); ++i)
      values.emplace_back(node_->items[i], name_ + "[" + std::to_string(i) + "]", *file_);
    return values;
  }

 private:
  const YamlNode* node_;
  std::string name_;
  const std::string* file_;
};

template <size_t kSize>
void expect_keys(const Value& map, const std::string_view (&known)[kSize]) {
  map.expect_keys(known);
}

double number(const Value& value, double low, double high) {
  return value.as([&](const Json& json) {
    return read_number(json, {.low = low, .high = high, .open_low = low == 0});
  });
}

double rate_number(const Value& value) { return number(value, 0, kMostRate); }

// A number, or {median, low, high}.
Rate rate(const Value& value) {
  if (!value.is_map()) return {.median = rate_number(value)};
  expect_keys(value, {"median", "low", "high"});
  const Rate rate = {.median = rate_number(value.at("median")),
                     .low = rate_number(value.at("low")),
                     .high = rate_number(value.at("high"))};
  if (rate.low > rate.median || rate.median > rate.high)
    value.refuse("low, median and high do not ascend");
  return rate;
}

// Median 0 where the file has no such rate.
Rate optional_rate(const Value& map, const std::string& key) {
  const auto found = map.find(key);
  return found ? rate(*found) : Rate();
}

std::string text(const Value& value) {
  return value.as([](const Json& json) { return read_string(json, "text"); });
}

bool flag(const Value& value) { return value.as(read_bool); }

int64_t bytes(const Value& value) {
  return value.as([](const Json& json) { return read_bytes(json, 1, kMostBytes); });
}

template <size_t kSize>
size_t choice(const Value& value, const std::array<std::string_view, kSize>& names) {
  return value.as([&](const Json& json) { return read_choice(json, names); });
}

HardwareProfile::Memory memory(const Value& value) {
  expect_keys(value, {"bytes", "read"});
  return {.bytes = bytes(value.at("bytes")), .read = rate(value.at("read"))};
}

HardwareProfile::ReadMode read_mode(const Value& value) {
  expect_keys(value, {"engine", "direct", "block_size", "rate"});
  return {.engine = text(value.at("engine")),
          .direct = flag(value.at("direct")),
          .block_size = bytes(value.at("block_size")),
          .rate = rate(value.at("rate"))};
}

std::vector<double> sharing(const Value& value) {
  std::vector<double> shares;
  if (const auto found = value.find("sharing"))
    for (const Value& share : found->items()) shares.push_back(number(share, 0, 1));
  return shares;
}

HardwareProfile::Storage storage(const Value& value) {
  expect_keys(value, {"read", "write", "latency_seconds", "modes", "sharing"});
  HardwareProfile::Storage storage;
  storage.read = rate(value.at("read"));
  storage.write = optional_rate(value, "write");
  storage.latency_seconds = number(value.at("latency_seconds"), 0, 1e3);
  if (const auto modes = value.find("modes"))
    for (const Value& mode : modes->items()) storage.modes.push_back(read_mode(mode));
  storage.sharing = sharing(value);
  return storage;
}

HardwareProfile::Link link(const Value& value) {
  expect_keys(value, {"to_device", "from_device", "pageable_to_device", "pageable_from_device",
                      "both_ways", "sharing"});
  return {.to_device = rate(value.at("to_device")),
          .from_device = rate(value.at("from_device")),
          .both_ways = optional_rate(value, "both_ways"),
          .pageable_to_device = optional_rate(value, "pageable_to_device"),
          .pageable_from_device = optional_rate(value, "pageable_from_device"),
          .sharing = sharing(value)};
}

GemmRates::Point gemm_point(const Value& value) {
  expect_keys(value, {"rows", "flops"});
  return {.rows = value.at("rows").as(
              [](const Json& json) { return read_integer(json, 1, kMostRows); }),
          .flops = rate(value.at("flops"))};
}

GemmRates gemm_rates(const Value& value) {
  expect_keys(value, {"weights", "layout", "int8_activations", "points"});
  GemmRates rates;
  rates.weights = dtype_from_name(kWeights[choice(value.at("weights"), kWeights)]).value();
  if (const auto layout = value.find("layout"))
    rates.layout = choice(*layout, kLayouts) == 0 ? WeightLayout::kTile64 : WeightLayout::kRows;
  if (const auto int8 = value.find("int8_activations")) rates.int8_activations = flag(*int8);
  const Value points = value.at("points");
  for (const Value& item : points.items()) {
    const GemmRates::Point point = gemm_point(item);
    if (!rates.points.empty() && rates.points.back().rows >= point.rows)
      item.refuse("rows do not ascend");
    rates.points.push_back(point);
  }
  if (rates.points.empty()) points.refuse("has no points");
  return rates;
}

HardwareProfile::Compute compute(const Value& value) {
  expect_keys(value, {"memory", "gemm", "attention", "prompt_attention", "launch_seconds"});
  HardwareProfile::Compute compute;
  const Value gemm = value.at("gemm");
  for (const Value& item : gemm.items()) compute.gemm.push_back(gemm_rates(item));
  if (compute.gemm.empty()) gemm.refuse("has no rates");
  compute.attention = rate(value.at("attention"));
  compute.prompt_attention = optional_rate(value, "prompt_attention");
  compute.launch_seconds = number(value.at("launch_seconds"), 0, 1);
  return compute;
}

// What a device of its own has and the CPU has not.
void read_device_parts(const Value& root, HardwareProfile& profile) {
  const Value compute = root.at("compute");
  if (profile.device == DeviceKind::kCpu) {
    if (const auto memory = compute.find("memory")) memory->refuse("a CPU has the host's memory");
    if (const auto link = root.find("link")) link->refuse("a CPU has no link to itself");
    profile.compute.memory = profile.host;
  } else {
    profile.compute.memory = memory(compute.at("memory"));
    profile.link = link(root.at("link"));
  }
}

std::string show(double value) {
  char text[32];
  const auto end = std::to_chars(std::begin(text), std::end(text), value).ptr;
  return {text, end};
}

std::string show(const Rate& rate) {
  if (rate.low == 0 && rate.high == 0) return show(rate.median);
  return "{median: " + show(rate.median) + ", low: " + show(rate.low) +
         ", high: " + show(rate.high) + "}";
}

// A string in quotes; JSON's are YAML's.
std::string quoted(const std::string& text) { return json_text(Json(text)); }

std::string memory_text(const HardwareProfile::Memory& memory) {
  return "{bytes: " + std::to_string(memory.bytes) + ", read: " + show(memory.read) + "}\n";
}

// A line for a rate that may be unknown.
std::string optional_text(const std::string& key, const Rate& rate) {
  return rate.median > 0 ? "  " + key + ": " + show(rate) + "\n" : "";
}

std::string sharing_text(const std::vector<double>& shares) {
  std::string text;
  for (const double share : shares) text += (text.empty() ? "" : ", ") + show(share);
  return text.empty() ? "" : "  sharing: [" + text + "]\n";
}

std::string storage_text(const HardwareProfile::Storage& storage) {
  std::string text = "storage:\n  read: " + show(storage.read) + "\n";
  text += optional_text("write", storage.write);
  text += "  latency_seconds: " + show(storage.latency_seconds) + "\n";
  if (!storage.modes.empty()) text += "  modes:\n";
  for (const auto& mode : storage.modes)
    text +=
        "    - {engine: " + quoted(mode.engine) + ", direct: " + (mode.direct ? "true" : "false") +
        ", block_size: " + std::to_string(mode.block_size) + ", rate: " + show(mode.rate) + "}\n";
  return text + sharing_text(storage.sharing);
}

std::string link_text(const HardwareProfile::Link& link) {
  return "link:\n  to_device: " + show(link.to_device) +
         "\n  from_device: " + show(link.from_device) + "\n" +
         optional_text("both_ways", link.both_ways) +
         optional_text("pageable_to_device", link.pageable_to_device) +
         optional_text("pageable_from_device", link.pageable_from_device) +
         sharing_text(link.sharing);
}

std::string gemm_text(const GemmRates& rates) {
  std::string text = "    - weights: " + std::string(dtype_name(rates.weights)) + "\n";
  if (rates.layout == WeightLayout::kRows) text += "      layout: rows\n";
  if (rates.int8_activations) text += "      int8_activations: true\n";
  text += "      points:\n";
  for (const auto& point : rates.points)
    text +=
        "        - {rows: " + std::to_string(point.rows) + ", flops: " + show(point.flops) + "}\n";
  return text;
}

}  // namespace

HardwareProfile read_hardware_profile(const std::string& path) {
  const YamlNode tree = read_yaml(path, "the hardware profile");
  const Value root(tree, "", path);
  expect_keys(root,
              {"name", "source", "device", "storage", "host", "link", "compute", "peer_link"});
  HardwareProfile profile;
  profile.name = text(root.at("name"));
  profile.source = text(root.at("source"));
  profile.device = choice(root.at("device"), kDevices) == 0 ? DeviceKind::kCpu : DeviceKind::kCuda;
  if (const auto found = root.find("storage")) profile.storage = storage(*found);
  profile.host = memory(root.at("host"));
  profile.compute = compute(root.at("compute"));
  read_device_parts(root, profile);
  if (const auto found = root.find("peer_link")) profile.peer_link = rate(*found);
  return profile;
}

std::string hardware_profile_text(const HardwareProfile& profile) {
  const bool cpu = profile.device == DeviceKind::kCpu;
  std::string text = "name: " + quoted(profile.name) + "\nsource: " + quoted(profile.source) +
                     "\ndevice: " + (cpu ? "cpu" : "cuda") + "\n";
  if (profile.storage) text += storage_text(*profile.storage);
  text += "host: " + memory_text(profile.host);
  if (profile.link) text += link_text(*profile.link);
  text += "compute:\n";
  if (!cpu) text += "  memory: " + memory_text(profile.compute.memory);
  text += "  attention: " + show(profile.compute.attention) + "\n" +
          optional_text("prompt_attention", profile.compute.prompt_attention) +
          "  launch_seconds: " + show(profile.compute.launch_seconds) + "\n  gemm:\n";
  for (const GemmRates& rates : profile.compute.gemm) text += gemm_text(rates);
  if (profile.peer_link) text += "peer_link: " + show(*profile.peer_link) + "\n";
  return text;
}

}  // namespace zerostream
