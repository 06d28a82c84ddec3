#include "offload/backend.h"

#include <dlfcn.h>

#include <algorithm>

#include "base/bytes.h"
#include "cpu/cache_flush.h"
#include "cpu/cpu_device.h"
#include "cpu/cpu_kernels.h"
#include "cpu/reference_kernels.h"
#include "offload/module_loader.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr const char* kCudaModule = "libzerostream_cuda.so";
constexpr const char* kCudaDriver = "libcuda.so.1";

const DeviceModule& usable_cuda(const std::string& path) {
  const DeviceModule& module = load_device_module(path, kCudaModule);
  const std::string why = module.why_unusable();
  if (!why.empty()) throw DeviceError("the CUDA runtime finds no GPU: " + why);
  return module;
}

bool has_cuda(const RunConfig::Device& config) {
  if (config.module.empty()) {  // without a driver the module need not be loaded
    void* driver = dlopen(kCudaDriver, RTLD_LAZY | RTLD_LOCAL);
    if (driver == nullptr) return false;
    dlclose(driver);
  }
  try {
    usable_cuda(config.module);
    return true;
  } catch (const DeviceError&) {
    return false;
  }
}

constexpr int64_t kRowsOfSums = 2048;

// As rows of 16 bits.
int64_t unpacked_bytes(const PackedWeight& weight) {
  return 2 * weight.panels() * kPanelOutputs * round_up(weight.inputs, tile_inputs(DType::kBF16));
}

Backend make_cuda_backend(const RunConfig::Device& config, const KernelLimits& limits) {
  if (config.int8_activations)
    throw UsageError("device.int8_activations: cuda devices have no products of int8 activations");
  const DeviceModule& module = [&]() -> const DeviceModule& {
    try {
      return usable_cuda(config.module);
    } catch (const DeviceError& error) {
      throw DeviceError("device.type: cuda cannot run here: " + std::string(error.what()) +
                        " (see zerostream doctor)");
    }
  }();
  Backend backend;
  backend.device = module.make_device();
  backend.kernels = module.make_kernels(*backend.device, limits);
  backend.limits = limits;
  backend.free_bytes = module.memory(*backend.device).free + backend.device->scratch_bytes();
  return backend;
}

Backend make_cpu_backend(const RunConfig::Device& config, const KernelLimits& limits) {
  auto device = std::make_unique<CpuDevice>(CpuDeviceOptions{.threads = config.threads});
  auto kernels = std::make_unique<CpuKernels>(*device, limits.max_vocabulary);
  const int32_t threads = device->threads();
  return {.device = std::move(device), .kernels = std::move(kernels), .threads = threads};
}

}  // namespace

KernelLimits kernel_limits(const RunConfig::Device& config, const ModelLayout& layout) {
  int64_t outputs = 0, largest = 0, unpacked = 0;  // bytes in 16 bits; of those in tiles
  for (const Segment& segment : layout.segments)
    for (const StoredMatrix& matrix : segment.matrices) {
      if (is_embedding(segment)) break;
      const PackedWeight weight = matrix.weight(nullptr);
      const int64_t bytes = unpacked_bytes(weight);
      outputs = std::max(outputs, weight.outputs);
      largest = std::max(largest, bytes);
      if (weight.layout == WeightLayout::kTile64) unpacked = std::max(unpacked, bytes);
    }
  const bool unpacks = !config.batch_invariant && layout.compute_dtype != DType::kF32;
  return {.max_vocabulary = layout.config.vocab_size,
          .unpack_bytes = unpacks ? std::min(unpacked, kLargestLimits.unpack_bytes) : 0,
          .sum_bytes =
              std::min(kRowsOfSums * outputs * int64_t{sizeof(float)}, kLargestLimits.sum_bytes),
          .workspace_bytes =
              std::clamp(largest, KernelLimits{}.workspace_bytes, kLargestLimits.workspace_bytes)};
}

Backend make_backend(const RunConfig::Device& config, const KernelLimits& limits) {
  const bool cuda = config.type ? *config.type == DeviceKind::kCuda
                                : !config.int8_activations && has_cuda(config);
  return cuda ? make_cuda_backend(config, limits) : make_cpu_backend(config, limits);
}

Backend make_reference_backend() {
  return {std::make_unique<CpuDevice>(CpuDeviceOptions{.threads = 1}),
          std::make_unique<ReferenceKernels>()};
}

std::string describe_processor() { return CpuDevice().description(); }

std::string describe_gpu(const std::string& module_path) {
  const DeviceModule& module = usable_cuda(module_path);
  const std::unique_ptr<Device> device = module.make_device();
  const DeviceMemory memory = module.memory(*device);
  return device->description() + ", " + format_bytes(memory.free) + " of " +
         format_bytes(memory.total) + " free";
}

void flush_host_caches(const std::byte* data, int64_t bytes) { flush_from_caches(data, bytes); }

}  // namespace zerostream
