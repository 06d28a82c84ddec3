// The functions of cuda_runtime.h for devices, errors and memory.
#include <cstdio>
#include <cstring>

#include "tests/cuda_emulator/runtime.h"

using cuda_emulator::Memory;
using cuda_emulator::MemoryKind;
using cuda_emulator::Runtime;

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration:
      return "cudaErrorInvalidConfiguration";
    case cudaErrorInsufficientDriver:
      return "cudaErrorInsufficientDriver";
    case cudaErrorNoDevice:
      return "cudaErrorNoDevice";
    case cudaErrorInvalidDevice:
      return "cudaErrorInvalidDevice";
    case cudaErrorInvalidResourceHandle:
      return "cudaErrorInvalidResourceHandle";
    case cudaErrorNotReady:
      return "cudaErrorNotReady";
    case cudaErrorIllegalAddress:
      return "cudaErrorIllegalAddress";
    case cudaErrorHostMemoryAlreadyRegistered:
      return "cudaErrorHostMemoryAlreadyRegistered";
    case cudaErrorHostMemoryNotRegistered:
      return "cudaErrorHostMemoryNotRegistered";
    case cudaErrorLaunchFailure:
      return "cudaErrorLaunchFailure";
    case cudaErrorNotPermitted:
      return "cudaErrorNotPermitted";
    case cudaErrorUnknown:
      return "cudaErrorUnknown";
  }
  return "unrecognized error code";
}

const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorMemoryAllocation ? "out of memory" : cudaGetErrorName(error);
}

cudaError_t cudaGetLastError() { return Runtime::get().take_last_error(true); }
cudaError_t cudaPeekAtLastError() { return Runtime::get().take_last_error(false); }

cudaError_t cudaGetDeviceCount(int* count) {
  if (const cudaError_t error = Runtime::get().enter("cudaGetDeviceCount")) return error;
  *count = Runtime::get().options().devices;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  if (const cudaError_t error = Runtime::get().enter("cudaSetDevice")) return error;
  return device == 0 ? cudaSuccess : Runtime::get().refuse(cudaErrorInvalidDevice);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (const cudaError_t error = Runtime::get().enter("cudaGetDeviceProperties")) return error;
  if (device != 0) return Runtime::get().refuse(cudaErrorInvalidDevice);
  const cuda_emulator::Options options = Runtime::get().options();
  *properties = {"Emulated GPU", options.memory_bytes, options.compute_capability / 10,
                 options.compute_capability % 10, 2};
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp properties;
  if (const cudaError_t error = cudaGetDeviceProperties(&properties, device)) return error;
  *value = attribute == cudaDevAttrComputeCapabilityMajor   ? properties.major
           : attribute == cudaDevAttrComputeCapabilityMinor ? properties.minor
                                                            : properties.multiProcessorCount;
  return cudaSuccess;
}

static cudaError_t allocate(const char* function, void** memory, size_t bytes, MemoryKind kind) {
  Runtime& runtime = Runtime::get();
  *memory = nullptr;
  if (const cudaError_t error = runtime.enter(function)) return error;
  if (bytes == 0) return cudaSuccess;
  runtime.count([](auto& counters) { ++counters.allocations; });
  *memory = runtime.memory().allocate(bytes, kind, runtime.options().memory_bytes);
  return *memory != nullptr ? cudaSuccess : runtime.refuse(cudaErrorMemoryAllocation);
}

// Memory goes on a broken device too; only the answer differs.
static cudaError_t release(const char* function, void* memory, MemoryKind kind) {
  Runtime& runtime = Runtime::get();
  if (Runtime::get().refuse_in_callback(function)) return cudaErrorNotPermitted;
  const std::string wrong = runtime.memory().free(memory, kind);
  if (!wrong.empty()) return runtime.refuse(cudaErrorInvalidValue, wrong);
  return runtime.broken();
}

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  return allocate("cudaMalloc", memory, bytes, MemoryKind::kDevice);
}
cudaError_t cudaFree(void* memory) { return release("cudaFree", memory, MemoryKind::kDevice); }
cudaError_t cudaHostAlloc(void** memory, size_t bytes, unsigned) {
  return allocate("cudaHostAlloc", memory, bytes, MemoryKind::kPinned);
}
cudaError_t cudaFreeHost(void* memory) {
  return release("cudaFreeHost", memory, MemoryKind::kPinned);
}

cudaError_t cudaHostRegister(void* memory, size_t bytes, unsigned) {
  Runtime& runtime = Runtime::get();
  if (const cudaError_t error = runtime.enter("cudaHostRegister")) return error;
  if (reinterpret_cast<uintptr_t>(memory) % 4096 != 0 || bytes % 4096 != 0 || bytes == 0)
    return runtime.refuse(cudaErrorInvalidValue, "registered memory is whole pages");
  runtime.count([](auto& counters) { ++counters.allocations; });
  return runtime.memory().add_registered(memory, bytes)
             ? cudaSuccess
             : runtime.refuse(cudaErrorHostMemoryAlreadyRegistered);
}

cudaError_t cudaHostUnregister(void* memory) {
  Runtime& runtime = Runtime::get();
  if (Runtime::get().refuse_in_callback("cudaHostUnregister")) return cudaErrorNotPermitted;
  if (!runtime.memory().remove_registered(memory))
    return runtime.refuse(cudaErrorHostMemoryNotRegistered, "memory was not registered");
  return runtime.broken();
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  Runtime& runtime = Runtime::get();
  if (const cudaError_t error = runtime.enter("cudaMemGetInfo")) return error;
  *total = runtime.options().memory_bytes;
  *free = *total - runtime.memory().used_bytes();
  return cudaSuccess;
}
