// Failed calls of CUDA as errors.
#pragma once

#include <cuda_runtime.h>

#include <string>

namespace zerostream {

// "cudaMalloc on GPU 0: cudaErrorMemoryAllocation (out of memory)".
std::string describe_cuda_error(cudaError_t error, const char* call, int device);

// Throws DeviceError with that text unless error is cudaSuccess.
void check_cuda(cudaError_t error, const char* call, int device);

}  // namespace zerostream
