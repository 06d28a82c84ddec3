// Rows of sequences and their paged keys and values on the device.
#pragma once

#include "gpu/device_code.cuh"

namespace zerostream {

// The sequence that `row` belongs to; `rows` is 0 if there is none. For all threads of a block: a
// barrier.
template <int kThreads>
__device__ __forceinline__ SequenceSpan find_sequence(const SequenceSpan* sequences, int32_t count,
                                                      int32_t row) {
  __shared__ int32_t found;
  if (threadIdx.x == 0) found = -1;
  __syncthreads();
  for (int32_t s = static_cast<int32_t>(threadIdx.x); s < count; s += kThreads)
    if (row >= sequences[s].row_begin && row - sequences[s].row_begin < sequences[s].rows)
      found = s;
  __syncthreads();
  return found < 0 ? SequenceSpan{} : sequences[found];
}

// Keys of head h are run h of a block, its values run num_key_value_heads + h.
template <typename T>
__device__ __forceinline__ T* kv_cells(const KvLayerView& kv, int64_t block, int64_t run,
                                       int64_t slot) {
  return reinterpret_cast<T*>(kv.base + block * kv.block_bytes) +
         (run * kv.block_tokens + slot) * kv.head_dim;
}

// kI8 only.
__device__ __forceinline__ float* kv_scale(const KvLayerView& kv, int64_t block, int64_t run,
                                           int64_t slot) {
  const int8_t* end = kv_cells<int8_t>(kv, block, 2 * int64_t{kv.num_key_value_heads}, 0);
  return reinterpret_cast<float*>(const_cast<int8_t*>(end)) + run * kv.block_tokens + slot;
}

// Host: calls call(T{}) for the C++ type of KV cells.
template <typename Call>
void with_kv_type(DType dtype, const Call& call) {
  if (dtype == DType::kI8) return call(int8_t{});
  with_float_type(dtype, call);
}

}  // namespace zerostream
