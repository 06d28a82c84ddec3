#include "offload/probe.h"

#include <algorithm>
#include <ctime>

#include "base/require.h"
#include "offload/memory_limit.h"
#include "offload/probe_compute.h"
#include "offload/probe_disk.h"

namespace zerostream {
namespace {

constexpr int64_t kRows[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 2048};
constexpr int64_t kQuickRows[] = {1, 32, 256};

struct WeightKind {
  DType dtype;
  bool int8_activations = false;
};
constexpr WeightKind kWeightKinds[] = {{DType::kF32},     {DType::kF16}, {DType::kBF16},
                                       {DType::kI8},      {DType::kI4},  {DType::kI8, true},
                                       {DType::kI4, true}};

std::string today() {
  const std::time_t now = std::time(nullptr);
  std::tm date{};
  localtime_r(&now, &date);
  char text[16];
  std::strftime(text, sizeof text, "%Y-%m-%d", &date);
  return text;
}

HardwareProfile begin_profile(const Device& device, const std::string& source) {
  HardwareProfile profile;
  profile.name = device.description();
  profile.source = source + " on " + today();
  profile.device = device.kind();
  return profile;
}

void probe_host(const ProbeRounds& rounds, HardwareProfile& profile) {
  const HostMemory memory = measure_host_memory();
  profile.host = {.bytes = std::min(memory.available, memory.limit),
                  .read = host_memory_rate(rounds)};
  profile.compute.memory = profile.host;
}

std::string describe(const WeightKind& kind) {
  return "products with " + std::string(dtype_name(kind.dtype)) + " weights" +
         (kind.int8_activations ? " and int8 activations" : "");
}

}  // namespace

HardwareProfile probe_hardware(Device& device, Kernels& kernels, const ProbeOptions& options) {
  const auto tell = [&](const std::string& what) {
    if (options.progress) options.progress(what);
  };
  constexpr ProbeRounds kRounds = {.least = 3, .most = 5, .seconds = 0.08};
  HardwareProfile profile =
      begin_profile(device, "zerostream probe, disk of " + options.folder + ",");
  profile.storage = probe_storage(options.folder, options.progress);
  tell("memory");
  probe_host(kRounds, profile);
  ComputeProbe compute(device, kernels, std::ranges::max(kRows), kRounds);
  for (const WeightKind& kind : kWeightKinds) {
    tell(describe(kind));
    if (auto rates = compute.gemm(kind.dtype, kind.int8_activations, kRows))
      profile.compute.gemm.push_back(std::move(*rates));
  }
  tell("attention");
  profile.compute.attention = compute.attention(DType::kBF16);
  profile.compute.launch_seconds = compute.launch_seconds();
  return profile;
}

HardwareProfile quick_profile(Device& device, Kernels& kernels, const QuickProbeOptions& options) {
  constexpr ProbeRounds kRounds = {.least = 3, .most = 3, .seconds = 0.1};
  HardwareProfile profile = begin_profile(device, "measured at the start of a run");
  profile.storage = quick_storage(options.path, options.engine);
  probe_host(kRounds, profile);
  ComputeProbe compute(device, kernels, std::ranges::max(kQuickRows), kRounds);
  auto rates = compute.gemm(options.weights, options.int8_activations, kQuickRows);
  if (!rates) rates = compute.gemm(DType::kBF16, false, kQuickRows);
  require(rates.has_value(), "every backend has products with bf16 weights");
  profile.compute.gemm.push_back(std::move(*rates));
  profile.compute.attention = compute.attention(DType::kBF16);
  profile.compute.launch_seconds = compute.launch_seconds();
  return profile;
}

}  // namespace zerostream
