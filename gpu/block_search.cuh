// Searches over the ids of a row by a whole block, in integers: results do not depend on the order
// in which threads come.
//
// `amount(id)` is an unsigned 64-bit number for each id. Every thread of the block gets the result;
// all are barriers.
#pragma once

#include "gpu/device_code.cuh"

namespace zerostream {

// Orders as the floats do; NaN aside.
__device__ __forceinline__ uint32_t ordered_key(float score) {
  const uint32_t bits = __float_as_uint(score);
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

template <int kThreads, typename Amount>
__device__ __forceinline__ unsigned long long total_amount(int32_t count, const Amount& amount) {
  unsigned long long sum = 0;
  for (int32_t id = threadIdx.x; id < count; id += kThreads) sum += amount(id);
  return block_sum<kThreads>(sum);
}

struct Threshold {
  uint32_t key;              // at which the running sum reaches the target
  unsigned long long above;  // the sum of those with higher keys
};

// Goes through the ids with falling keys of their scores until the amounts add up to `target`,
// 1 .. total: by a byte of the key at a time.
template <int kThreads, typename Amount>
__device__ __forceinline__ Threshold find_threshold(const float* scores, int32_t count,
                                                    unsigned long long target,
                                                    const Amount& amount) {
  __shared__ unsigned long long sums[256];
  Threshold found = {0, 0};
  uint32_t known = 0;  // bits of found.key
  for (int shift = 24; shift >= 0; shift -= 8) {
    __syncthreads();
    for (int i = threadIdx.x; i < 256; i += kThreads) sums[i] = 0;
    __syncthreads();
    for (int32_t id = threadIdx.x; id < count; id += kThreads) {
      const uint32_t key = ordered_key(scores[id]);
      if ((key & known) == found.key) atomicAdd(&sums[key >> shift & 255], amount(id));
    }
    __syncthreads();
    uint32_t byte = 255;
    for (; byte > 0 && found.above + sums[byte] < target; --byte) found.above += sums[byte];
    found.key |= byte << shift;
    known |= 255u << shift;
  }
  return found;
}

// The first id, ascending, at which the running sum reaches `target`, 1 .. total.
template <int kThreads, typename Amount>
__device__ __forceinline__ int32_t find_in_order(int32_t count, unsigned long long target,
                                                 const Amount& amount) {
  __shared__ unsigned long long sums[kThreads];
  __shared__ int32_t found;
  const int32_t span = (count + kThreads - 1) / kThreads;
  const int32_t begin = static_cast<int32_t>(threadIdx.x) * span;
  const int32_t end = begin + span < count ? begin + span : count;
  unsigned long long own = 0;
  for (int32_t id = begin; id < end; ++id) own += amount(id);
  __syncthreads();
  sums[threadIdx.x] = own;
  __syncthreads();
  unsigned long long sum = 0;
  for (int i = 0; i < static_cast<int>(threadIdx.x); ++i) sum += sums[i];
  if (sum < target && sum + own >= target) {
    int32_t id = begin;
    for (sum += amount(id); sum < target; sum += amount(id)) ++id;
    found = id;
  }
  __syncthreads();
  return found;
}

}  // namespace zerostream
