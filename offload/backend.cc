#include "offload/backend.h"

#include "cpu/cpu_device.h"
#include "cpu/cpu_kernels.h"

namespace zerostream {

Backend make_backend(const RunConfig::Device& config, int64_t max_vocabulary) {
  auto device = std::make_unique<CpuDevice>(CpuDeviceOptions{.threads = config.threads});
  auto kernels = std::make_unique<CpuKernels>(*device, max_vocabulary);
  return {std::move(device), std::move(kernels)};
}

std::string describe_processor() { return CpuDevice().description(); }

}  // namespace zerostream
