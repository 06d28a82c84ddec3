// The largest of a row of scores.
#pragma once

#include "gpu/device_code.cuh"

namespace zerostream {

struct BestScore {
  float score;
  int32_t id;   // the lowest of equal ones; -1: no score is above -inf
  bool usable;  // no score is NaN or +inf
};

__device__ __forceinline__ bool is_better(float score, int32_t id, const BestScore& than) {
  return score > than.score || (score == than.score && id >= 0 && (than.id < 0 || id < than.id));
}

// Whether a score ranks behind another: smaller, or equal with a higher id.
__device__ __forceinline__ bool is_behind(float score, int32_t id, const BestScore& other) {
  return score < other.score || (score == other.score && id > other.id);
}

// The best of those that rank behind `after`, of a whole block of kThreads; the same in all
// threads. `usable` is of all scores. A barrier.
template <int kThreads>
__device__ __forceinline__ BestScore best_score(const float* scores, int32_t count,
                                                const BestScore& after = {INFINITY, -1, true}) {
  __shared__ BestScore of_warp[kThreads / kWarpThreads];
  BestScore best = {-INFINITY, -1, true};
  for (int32_t i = threadIdx.x; i < count; i += kThreads) {
    best.usable = best.usable && scores[i] < INFINITY;
    if (scores[i] > best.score && is_behind(scores[i], i, after)) {
      best.score = scores[i];
      best.id = i;
    }
  }
  for (int bits = kWarpThreads / 2; bits > 0; bits /= 2) {
    const float score = __shfl_xor_sync(kAllLanes, best.score, bits);
    const int32_t id = __shfl_xor_sync(kAllLanes, best.id, bits);
    if (is_better(score, id, best)) {
      best.score = score;
      best.id = id;
    }
  }
  best.usable = __all_sync(kAllLanes, best.usable);
  __syncthreads();  // those of the last call have been read
  if (threadIdx.x % kWarpThreads == 0) of_warp[threadIdx.x / kWarpThreads] = best;
  __syncthreads();
  for (int i = 0; i < kThreads / kWarpThreads; ++i) {
    if (is_better(of_warp[i].score, of_warp[i].id, best)) {
      best.score = of_warp[i].score;
      best.id = of_warp[i].id;
    }
    best.usable = best.usable && of_warp[i].usable;
  }
  return best;
}

}  // namespace zerostream
