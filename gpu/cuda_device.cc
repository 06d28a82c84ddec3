#include "gpu/cuda_device.h"

#include <cuda_runtime.h>

#include "base/tensor.h"
#include "gpu/cuda_error.h"
#include "gpu/cuda_stream.h"
#include "gpu/locked_memory.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr int kLeastMajor = 8;  // whose tensor cores know bf16

std::string describe(const cudaDeviceProp& properties, int device) {
  std::string text = properties.name;
  text.append(", GPU ").append(std::to_string(device)).append(", compute capability ");
  text.append(std::to_string(properties.major)).append(".");
  return text.append(std::to_string(properties.minor));
}

// Empty: kernels run on it.
std::string why_too_old(const cudaDeviceProp& properties, int device) {
  if (properties.major >= kLeastMajor) return "";
  std::string text = describe(properties, device);
  return text.append(" is too old: kernels need ").append(std::to_string(kLeastMajor)).append(".0");
}

[[noreturn]] void throw_full(int64_t bytes, int device) {
  cudaGetLastError();  // the device goes on
  size_t free = 0, total = 0;
  cudaMemGetInfo(&free, &total);
  throw InfeasibleError("cannot allocate " + std::to_string(bytes) + " bytes of memory of GPU " +
                        std::to_string(device) + ": " + std::to_string(free) + " of " +
                        std::to_string(total) + " bytes are free; lower device.memory");
}

}  // namespace

int count_cuda_devices() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

std::string why_no_cuda_device() {
  int count = 0;
  cudaError_t error = cudaGetDeviceCount(&count);
  cudaDeviceProp properties;
  if (error == cudaSuccess && count > 0) error = cudaGetDeviceProperties(&properties, 0);
  if (error == cudaSuccess && count > 0) return why_too_old(properties, 0);
  cudaGetLastError();
  const cudaError_t shown = error == cudaSuccess ? cudaErrorNoDevice : error;
  std::string text = cudaGetErrorName(shown);
  return text.append(" (").append(cudaGetErrorString(shown)).append(")");
}

CudaDevice::CudaDevice(int device) : device_(device) {
  if (device < 0 || device >= count_cuda_devices())
    throw DeviceError("there is no GPU " + std::to_string(device) + ": the driver shows " +
                      std::to_string(count_cuda_devices()) +
                      (count_cuda_devices() > 0 ? std::string() : ": " + why_no_cuda_device()));
  cudaDeviceProp properties;
  check_cuda(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties", device);
  description_ = describe(properties, device);
  const std::string too_old = why_too_old(properties, device);
  if (!too_old.empty()) throw DeviceError(too_old);
}

void CudaDevice::make_current() const {
  check_cuda(cudaSetDevice(device_), "cudaSetDevice", device_);
}

DeviceMemory CudaDevice::memory() const {
  make_current();
  size_t free = 0, total = 0;
  check_cuda(cudaMemGetInfo(&free, &total), "cudaMemGetInfo", device_);
  return {.free = static_cast<int64_t>(free), .total = static_cast<int64_t>(total)};
}

Buffer CudaDevice::allocate(int64_t bytes) {
  if (bytes == 0) return {};
  make_current();
  void* base = nullptr;
  const cudaError_t error = cudaMalloc(&base, static_cast<size_t>(bytes));
  if (error == cudaErrorMemoryAllocation) throw_full(bytes, device_);
  check_cuda(error, "cudaMalloc", device_);
  return {static_cast<std::byte*>(base), bytes, [](std::byte* data, int64_t) { cudaFree(data); }};
}

Buffer CudaDevice::allocate_pinned(int64_t bytes) {
  if (bytes == 0) return {};
  make_current();
  return lock_memory(allocate_host(bytes), device_);
}

std::unique_ptr<Stream> CudaDevice::make_compute_stream() {
  return std::make_unique<CudaStream>(device_);
}

std::unique_ptr<Stream> CudaDevice::make_copy_stream() {
  return std::make_unique<CudaStream>(device_);
}

std::unique_ptr<Event> CudaDevice::make_event() { return std::make_unique<CudaEvent>(device_); }

}  // namespace zerostream
