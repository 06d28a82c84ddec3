// What kernels are made for, and what that takes of a GPU's memory.
#pragma once

#include <cstdint>

namespace zerostream {

struct KernelLimits {
  int64_t max_vocabulary = 0;  // most logits of a row
  // Of a GPU's memory, for weights in tiles that products of many rows unpack and multiply another
  // way than those of few. 0: all go one way, and a row's bits do not depend on the rows beside it.
  int64_t unpack_bytes = 0;
};

// The most that is of use for unpack_bytes: a run of 4,096 outputs of 8,192 inputs.
inline constexpr int64_t kMostUnpackBytes = int64_t{64} << 20;

// What kernels of a GPU hold besides: scores and counts of kGpuSampleBlocks rows that are sampled
// at once, sums of pieces of attention, sums that wait for their epilogue, workspace of cuBLASLt.
inline constexpr int64_t kGpuSampleBlocks = 32;
inline constexpr int64_t kGpuPartialFloats = int64_t{4} << 20;
inline constexpr int64_t kGpuSumBytes = int64_t{16} << 20;
inline constexpr int64_t kGpuWorkspaceBytes = int64_t{4} << 20;

// All of it. Known without a GPU, for plans.
constexpr int64_t gpu_scratch_bytes(const KernelLimits& limits) {
  const int64_t score_and_count = sizeof(float) + sizeof(int32_t);
  return kGpuSampleBlocks * limits.max_vocabulary * score_and_count +
         kGpuPartialFloats * int64_t{sizeof(float)} + kGpuSumBytes + kGpuWorkspaceBytes +
         limits.unpack_bytes;
}

}  // namespace zerostream
