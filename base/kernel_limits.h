// What kernels are made for, and what that takes of a GPU's memory.
#pragma once

#include <cstdint>

namespace zerostream {

struct KernelLimits {
  int64_t max_vocabulary = 0;  // most logits of a row
  // Of a GPU's memory, for weights in tiles that products of many rows unpack and multiply another
  // way than those of few. 0: all go one way, and a row's bits do not depend on the rows beside it.
  int64_t unpack_bytes = 0;
  // Of a GPU's memory, for sums of products that wait for their epilogue: rows that do not fit go
  // after the others, and read the weight again.
  int64_t sum_bytes = int64_t{1} << 20;
  // Of a GPU's memory, for cuBLASLt to work in.
  int64_t workspace_bytes = int64_t{4} << 20;
};

// As large as is of use to any model: a run of 4,096 outputs of 8,192 inputs, sums of 4,096 outputs
// of 4,096 rows, the workspace that cuBLAS itself takes on recent GPUs.
inline constexpr KernelLimits kLargestLimits = {.max_vocabulary = 1,
                                                .unpack_bytes = int64_t{64} << 20,
                                                .sum_bytes = int64_t{64} << 20,
                                                .workspace_bytes = int64_t{32} << 20};

// What kernels of a GPU hold besides: scores and counts of kGpuSampleBlocks rows that are sampled
// at once, sums of pieces of attention.
inline constexpr int64_t kGpuSampleBlocks = 32;
inline constexpr int64_t kGpuPartialFloats = int64_t{4} << 20;

// All of it. Known without a GPU, for plans.
constexpr int64_t gpu_scratch_bytes(const KernelLimits& limits) {
  const int64_t score_and_count = sizeof(float) + sizeof(int32_t);
  return kGpuSampleBlocks * limits.max_vocabulary * score_and_count +
         kGpuPartialFloats * int64_t{sizeof(float)} + limits.workspace_bytes + limits.sum_bytes +
         limits.unpack_bytes;
}

}  // namespace zerostream
