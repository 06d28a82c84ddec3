#include "offload/probe.h"

#include <algorithm>
#include <ctime>
#include <span>

#include "base/require.h"
#include "offload/memory_limit.h"
#include "offload/probe_compute.h"
#include "offload/probe_disk.h"
#include "offload/probe_links.h"

namespace zerostream {
namespace {

constexpr int64_t kRows[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 2048};
constexpr int64_t kQuickRows[] = {1, 32, 256};
constexpr int64_t kQuickDeviceRows[] = {1, 32, 256, 2048};

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

bool has_own_memory(const Backend& backend) { return !backend.device->shares_host_memory(); }

// Memory of the host and of the device, and copies between them.
void probe_memory(const Backend& backend, const ProbeRounds& rounds, HardwareProfile& profile) {
  const HostMemory memory = measure_host_memory();
  profile.host = {.bytes = std::min(memory.available, memory.limit),
                  .read = host_memory_rate(rounds)};
  profile.compute.memory = profile.host;
  if (!has_own_memory(backend)) return;
  const CopyRates copies = measure_copies(*backend.device, rounds);
  profile.compute.memory = {.bytes = backend.free_bytes, .read = copies.within};
  profile.link = HardwareProfile::Link{.to_device = copies.to_device,
                                       .from_device = copies.from_device,
                                       .both_ways = copies.both_ways,
                                       .pageable_to_device = copies.pageable_to_device,
                                       .pageable_from_device = copies.pageable_from_device,
                                       .sharing = {}};
}

void probe_attention(const Backend& backend, ComputeProbe& compute, HardwareProfile& profile) {
  profile.compute.attention = compute.attention(DType::kBF16);
  if (has_own_memory(backend))
    profile.compute.prompt_attention = compute.prompt_attention(DType::kBF16);
  profile.compute.launch_seconds = compute.launch_seconds();
}

// Rates of one kind, and on a device with memory of its own, where stores may be packed either way,
// of the same weights in rows.
void probe_products(const Backend& backend, WeightKind kind, std::span<const int64_t> rows,
                    ComputeProbe& compute, HardwareProfile& profile) {
  for (const WeightLayout layout : {WeightLayout::kTile64, WeightLayout::kRows}) {
    if (layout == WeightLayout::kRows && !has_own_memory(backend)) return;
    kind.layout = layout;
    if (auto rates = compute.gemm(kind, rows)) profile.compute.gemm.push_back(std::move(*rates));
  }
}

std::string describe(const WeightKind& kind) {
  return "products with " + std::string(dtype_name(kind.dtype)) + " weights" +
         (kind.int8_activations ? " and int8 activations" : "");
}

}  // namespace

HardwareProfile probe_hardware(const Backend& backend, const ProbeOptions& options) {
  const auto tell = [&](const std::string& what) {
    if (options.progress) options.progress(what);
  };
  constexpr ProbeRounds kRounds = {.least = 3, .most = 5, .seconds = 0.08};
  HardwareProfile profile =
      begin_profile(*backend.device, "zerostream probe, disk of " + options.folder + ",");
  profile.storage = probe_storage(options.folder, options.progress);
  tell(has_own_memory(backend) ? "memory and copies" : "memory");
  probe_memory(backend, kRounds, profile);
  ComputeProbe compute(*backend.device, *backend.kernels, std::ranges::max(kRows), kRounds);
  for (const WeightKind& kind : kWeightKinds) {
    tell(describe(kind));
    probe_products(backend, kind, kRows, compute, profile);
  }
  tell("attention");
  probe_attention(backend, compute, profile);
  return profile;
}

HardwareProfile quick_profile(const Backend& backend, const QuickProbeOptions& options) {
  constexpr ProbeRounds kRounds = {.least = 3, .most = 3, .seconds = 0.1};
  HardwareProfile profile = begin_profile(*backend.device, "measured quickly");
  profile.storage = quick_storage(options.path, options.engine);
  probe_memory(backend, kRounds, profile);
  const std::span<const int64_t> rows =
      has_own_memory(backend) ? std::span<const int64_t>(kQuickDeviceRows) : kQuickRows;
  ComputeProbe compute(*backend.device, *backend.kernels, rows.back(), kRounds);
  for (const DType weights : {DType::kF32, DType::kF16, DType::kBF16, DType::kI8, DType::kI4})
    if (options.all_weights || weights == options.weights)
      probe_products(backend, {weights, options.int8_activations}, rows, compute, profile);
  if (profile.compute.gemm.empty()) probe_products(backend, {}, rows, compute, profile);
  require(!profile.compute.gemm.empty(), "every backend has products with bf16 weights");
  probe_attention(backend, compute, profile);
  return profile;
}

}  // namespace zerostream
