#include <cmath>
#include <limits>

#include "cpu/reference_ops.h"

namespace zerostream::reference {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

void accumulate_row(const AccumulateSoftmaxArgs& args, const float* logits, int32_t target,
                    SoftmaxState& state) {
  const float before = state.largest;
  for (int32_t i = 0; i < args.logits.cols; ++i) {
    const int32_t token = args.vocabulary_begin + i;
    if (token == target) state.target_logit = logits[i];
    if (!(logits[i] < kInfinity)) state.finite = false;
    if (!(logits[i] > state.largest)) continue;
    state.largest = logits[i];
    state.best = token;
  }
  if (!state.finite || state.best < 0) return;
  double sum = state.sum * std::exp(double{before} - state.largest);
  for (int32_t i = 0; i < args.logits.cols; ++i) sum += std::exp(double{logits[i]} - state.largest);
  state.sum = static_cast<float>(sum);
}

}  // namespace

void accumulate_softmax(const AccumulateSoftmaxArgs& args) {
  for (int64_t i = 0; i < args.logits.rows; ++i)
    accumulate_row(args, args.logits.row_as<float>(i), args.targets[i], args.states[i]);
}

}  // namespace zerostream::reference
