#include "offload/backend.h"

#include "cpu/cache_flush.h"
#include "cpu/cpu_device.h"
#include "cpu/cpu_kernels.h"

namespace zerostream {

Backend make_backend(const RunConfig::Device& config, int64_t max_vocabulary) {
  auto device = std::make_unique<CpuDevice>(CpuDeviceOptions{.threads = config.threads});
  auto kernels = std::make_unique<CpuKernels>(*device, max_vocabulary);
  return {std::move(device), std::move(kernels)};
}

std::string describe_processor() { return CpuDevice().description(); }

void flush_host_caches(const std::byte* data, int64_t bytes) { flush_from_caches(data, bytes); }

}  // namespace zerostream
