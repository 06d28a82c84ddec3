// Log-sum-exp over parts of a vocabulary: a block for each row.
#include "gpu/best_score.cuh"
#include "gpu/device_code.cuh"
#include "gpu/launchers.h"

namespace zerostream {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads) accumulate_row(AccumulateSoftmaxArgs args) {
  const int64_t row = blockIdx.x;
  const float* logits = row_of<float>(args.logits, row);
  const auto cols = static_cast<int32_t>(args.logits.cols);
  SoftmaxState state = args.states[row];
  const BestScore best = best_score<kThreads>(logits, cols);
  const int32_t target = args.targets[row] - args.vocabulary_begin;
  if (args.targets[row] >= 0 && target >= 0 && target < cols) state.target_logit = logits[target];
  state.finite = state.finite && best.usable;
  const float before = state.largest;
  if (best.score > before) {
    state.largest = best.score;
    state.best = args.vocabulary_begin + best.id;
  }
  double sum = 0;
  for (int32_t i = threadIdx.x; i < cols; i += kThreads) sum += expf(logits[i] - state.largest);
  sum = block_sum<kThreads>(sum);
  if (state.finite && state.best >= 0)
    state.sum = static_cast<float>(double{state.sum} * expf(before - state.largest) + sum);
  if (threadIdx.x == 0) args.states[row] = state;
}

}  // namespace

// --------------------------------------------------------------------------------------------------

void launch_accumulate_softmax(const AccumulateSoftmaxArgs& args, CudaStream& stream) {
  if (args.logits.rows == 0) return;
  stream.launch("accumulate_softmax", static_cast<unsigned>(args.logits.rows), kThreads,
                accumulate_row, args);
}

}  // namespace zerostream
