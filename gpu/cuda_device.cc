#include "gpu/cuda_device.h"

#include <cuda_runtime.h>

#include "base/tensor.h"
#include "gpu/cuda_error.h"
#include "gpu/cuda_stream.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr int64_t kAlignment = kTileBytes;

std::string describe(const cudaDeviceProp& properties, int device) {
  std::string text = properties.name;
  text.append(", GPU ").append(std::to_string(device)).append(", compute capability ");
  text.append(std::to_string(properties.major)).append(".");
  return text.append(std::to_string(properties.minor));
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
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess && count > 0) return "";
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

// CUDA promises 256 bytes of alignment.
Buffer CudaDevice::allocate(int64_t bytes) {
  if (bytes == 0) return {};
  make_current();
  void* base = nullptr;
  const cudaError_t error = cudaMalloc(&base, static_cast<size_t>(bytes + kAlignment));
  if (error == cudaErrorMemoryAllocation) throw_full(bytes, device_);
  check_cuda(error, "cudaMalloc", device_);
  const int64_t aligned = round_up(reinterpret_cast<int64_t>(base), kAlignment);
  return {reinterpret_cast<std::byte*>(aligned), bytes,
          [base](std::byte*, int64_t) { cudaFree(base); }};
}

Buffer CudaDevice::allocate_pinned(int64_t bytes) {
  if (bytes == 0) return {};
  make_current();
  auto host = std::make_shared<Buffer>(allocate_host(bytes));
  const cudaError_t error = cudaHostRegister(
      host->data(), static_cast<size_t>(round_up(bytes, kAlignment)), cudaHostRegisterPortable);
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    throw InfeasibleError("cannot lock " + std::to_string(bytes) +
                          " bytes of host memory for GPU " + std::to_string(device_));
  }
  check_cuda(error, "cudaHostRegister", device_);
  return {host->data(), bytes, [host](std::byte* data, int64_t) { cudaHostUnregister(data); }};
}

std::unique_ptr<Stream> CudaDevice::make_compute_stream() {
  return std::make_unique<CudaStream>(device_);
}

std::unique_ptr<Stream> CudaDevice::make_copy_stream() {
  return std::make_unique<CudaStream>(device_);
}

std::unique_ptr<Event> CudaDevice::make_event() { return std::make_unique<CudaEvent>(device_); }

}  // namespace zerostream
