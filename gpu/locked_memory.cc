#include "gpu/locked_memory.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <memory>
#include <string>

#include "base/tensor.h"
#include "gpu/cuda_error.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

void unlock(std::byte* data, int64_t bytes) {
  for (int64_t at = 0; at < bytes; at += bytes_to_border(data + at, bytes - at))
    cudaHostUnregister(data + at);
}

}  // namespace

int64_t bytes_to_border(const void* data, int64_t bytes) {
  return std::min(bytes, kBorderBytes - reinterpret_cast<intptr_t>(data) % kBorderBytes);
}

Buffer lock_memory(Buffer memory, int device) {
  const int64_t bytes = round_up(memory.size(), kTileBytes);
  for (int64_t at = 0, part = 0; at < bytes; at += part) {
    part = bytes_to_border(memory.data() + at, bytes - at);
    const cudaError_t error =
        cudaHostRegister(memory.data() + at, static_cast<size_t>(part), cudaHostRegisterPortable);
    if (error == cudaSuccess) continue;
    unlock(memory.data(), at);
    cudaGetLastError();
    if (error == cudaErrorMemoryAllocation)
      throw InfeasibleError("cannot lock " + std::to_string(memory.size()) +
                            " bytes of host memory for GPU " + std::to_string(device));
    check_cuda(error, "cudaHostRegister", device);
  }
  auto locked = std::make_shared<Buffer>(std::move(memory));
  return {locked->data(), locked->size(),
          [locked, bytes](std::byte* data, int64_t) { unlock(data, bytes); }};
}

}  // namespace zerostream
