// Vectorised log-sum-exp over parts of a vocabulary.
#pragma once

#include <cstdint>

#include "base/kernels.h"
#include "cpu/cpu_isa.h"

namespace zerostream {

// Logits that are taken at once: a panel of outputs, so that a state has the same bits for every
// cut of the vocabulary into whole panels.
inline constexpr int64_t kSoftmaxChunk = kPanelOutputs;

// Takes `count` logits of tokens vocabulary_begin and on into the state of one row; `target` is
// its token or -1. Once a logit was NaN or +inf, only `target_logit` and `finite` have a meaning.
using AccumulateSoftmaxOp = void (*)(const float* logits, int64_t count, int32_t vocabulary_begin,
                                     int32_t target, SoftmaxState& state);

AccumulateSoftmaxOp accumulate_softmax_op(CpuIsa isa);

}  // namespace zerostream
