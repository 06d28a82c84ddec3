// The CUDA device as a shared object, see base/device_module.h.
#include <algorithm>
#include <type_traits>

#include "base/device_module.h"
#include "base/require.h"
#include "gpu/cuda_device.h"
#include "gpu/cuda_kernels.h"

namespace zerostream {
namespace {

// const or not, as what is given.
template <typename AnyDevice>
auto& as_cuda_device(AnyDevice& device) {
  using Result = std::conditional_t<std::is_const_v<AnyDevice>, const CudaDevice, CudaDevice>;
  auto* cuda_device = dynamic_cast<Result*>(&device);
  require(cuda_device != nullptr, "the device is this module's own");
  return *cuda_device;
}

std::unique_ptr<Device> make_device() { return std::make_unique<CudaDevice>(); }

std::unique_ptr<Kernels> make_kernels(Device& device, const KernelLimits& limits) {
  CudaDevice& cuda_device = as_cuda_device(device);
  const int64_t before = cuda_device.memory().free;
  auto kernels = std::make_unique<CudaKernels>(cuda_device, limits);
  // Others may take and give memory at the same time.
  cuda_device.set_scratch_bytes(
      std::max(before - cuda_device.memory().free, gpu_scratch_bytes(limits)));
  return kernels;
}

DeviceMemory memory(const Device& device) { return as_cuda_device(device).memory(); }

constexpr DeviceModule kModule = {.version = kDeviceModuleVersion,
                                  .release = ZEROSTREAM_VERSION,
                                  .why_unusable = why_no_cuda_device,
                                  .make_device = make_device,
                                  .make_kernels = make_kernels,
                                  .memory = memory};

}  // namespace
}  // namespace zerostream

extern "C" __attribute__((visibility("default"))) const zerostream::DeviceModule*
zerostream_device_module() {
  return &zerostream::kModule;
}
