// What the kernels share: conversions of numbers, sums over threads, rows of views.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "base/dtype.h"
#include "base/kernels.h"

namespace zerostream {

inline constexpr int kWarpThreads = 32;
inline constexpr unsigned kAllLanes = 0xffffffffu;

__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ float to_float(__half value) { return __half2float(value); }
__device__ __forceinline__ float to_float(__nv_bfloat16 value) { return __bfloat162float(value); }
__device__ __forceinline__ float to_float(int8_t value) { return static_cast<float>(value); }

__device__ __forceinline__ void store(float* target, float value) { *target = value; }
__device__ __forceinline__ void store(__half* target, float value) {
  *target = __float2half_rn(value);
}
__device__ __forceinline__ void store(__nv_bfloat16* target, float value) {
  *target = __float2bfloat16_rn(value);
}

template <typename T>
__device__ __forceinline__ T* row_of(const TensorView& view, int64_t row) {
  return reinterpret_cast<T*>(view.data) + row * view.row_stride;
}

// Element [row, col] of a view of any float dtype.
__device__ __forceinline__ void store_at(const TensorView& view, int64_t row, int64_t col,
                                         float value) {
  if (view.dtype == DType::kF32) return store(row_of<float>(view, row) + col, value);
  if (view.dtype == DType::kF16) return store(row_of<__half>(view, row) + col, value);
  store(row_of<__nv_bfloat16>(view, row) + col, value);
}

template <typename T>
__device__ __forceinline__ T warp_sum(T value) {
  for (int bits = kWarpThreads / 2; bits > 0; bits /= 2)
    value += __shfl_xor_sync(kAllLanes, value, bits);
  return value;
}

// NaN only if all are.
__device__ __forceinline__ float warp_largest(float value) {
  for (int bits = kWarpThreads / 2; bits > 0; bits /= 2)
    value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, bits));
  return value;
}

// The sum over a block of kThreads threads, in an order that is always the same. A barrier.
template <int kThreads, typename T>
__device__ __forceinline__ T block_sum(T value) {
  __shared__ T partial[kThreads / kWarpThreads];
  value = warp_sum(value);
  __syncthreads();  // those of the last call have been read
  if (threadIdx.x % kWarpThreads == 0) partial[threadIdx.x / kWarpThreads] = value;
  __syncthreads();
  T sum = 0;
  for (int i = 0; i < kThreads / kWarpThreads; ++i) sum += partial[i];
  return sum;
}

// Host: calls call(T{}) for the C++ type of a float dtype.
template <typename Call>
void with_float_type(DType dtype, const Call& call) {
  if (dtype == DType::kF32) return call(float{});
  if (dtype == DType::kF16) return call(__half{});
  call(__nv_bfloat16{});
}

}  // namespace zerostream
