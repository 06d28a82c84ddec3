#include "gpu/cuda_error.h"

#include "zerostream/error.h"

namespace zerostream {

std::string describe_cuda_error(cudaError_t error, const char* call, int device) {
  std::string text = call;
  text.append(" on GPU ").append(std::to_string(device)).append(": ");
  text.append(cudaGetErrorName(error));
  return text.append(" (").append(cudaGetErrorString(error)).append(")");
}

void check_cuda(cudaError_t error, const char* call, int device) {
  if (error != cudaSuccess) throw DeviceError(describe_cuda_error(error, call, device));
}

}  // namespace zerostream
