#include "cpu/simd_softmax.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/simd_softmax.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "cpu/simd-inl.h"

#if ZS_VECTOR_TARGET
HWY_BEFORE_NAMESPACE();
namespace zerostream {
namespace HWY_NAMESPACE {
namespace {

constexpr int64_t kVectors = kSoftmaxChunk / kLanes;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

HWY_INLINE float exp_of(float x) { return hn::GetLane(hn::Exp(Floats(), hn::Set(Floats(), x))); }

// kSoftmaxChunk logits of the tokens from `first` on.
HWY_INLINE void add_chunk(const float* logits, int32_t first, SoftmaxState& state) {
  const Floats d;
  FloatVec x[kVectors];
  for (int64_t i = 0; i < kVectors; ++i) x[i] = load(d, logits + i * kLanes);
  FloatVec largest = x[0];
  auto usable = hn::Lt(x[0], hn::Set(d, kInfinity));
  for (int64_t i = 1; i < kVectors; ++i) {
    largest = hn::Max(largest, x[i]);
    usable = hn::And(usable, hn::Lt(x[i], hn::Set(d, kInfinity)));
  }
  state.finite = state.finite && hn::AllTrue(d, usable);
  if (!state.finite) return;
  const float top = hn::GetLane(hn::MaxOfLanes(d, largest));
  if (top > state.largest) {
    state.sum *= exp_of(state.largest - top);
    state.largest = top;
    state.best =
        first + static_cast<int32_t>(std::find(logits, logits + kSoftmaxChunk, top) - logits);
  }
  if (top == -kInfinity) return;
  FloatVec sum = hn::Zero(d);
  for (int64_t i = 0; i < kVectors; ++i)
    sum = hn::Add(sum, hn::Exp(d, hn::Sub(x[i], hn::Set(d, state.largest))));
  state.sum += hn::GetLane(hn::SumOfLanes(d, sum));
}

void accumulate(const float* logits, int64_t count, int32_t vocabulary_begin, int32_t target,
                SoftmaxState& state) {
  if (target >= vocabulary_begin && target < vocabulary_begin + count)
    state.target_logit = logits[target - vocabulary_begin];
  int64_t i = 0;
  for (; i + kSoftmaxChunk <= count; i += kSoftmaxChunk)
    add_chunk(logits + i, vocabulary_begin + static_cast<int32_t>(i), state);
  if (i == count) return;
  HWY_ALIGN float rest[kSoftmaxChunk];
  std::fill(std::copy(logits + i, logits + count, rest), rest + kSoftmaxChunk, -kInfinity);
  add_chunk(rest, vocabulary_begin + static_cast<int32_t>(i), state);
}

constexpr AccumulateSoftmaxOp kAccumulate = accumulate;

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace zerostream
HWY_AFTER_NAMESPACE();
#endif  // ZS_VECTOR_TARGET

#if HWY_ONCE
namespace zerostream {

AccumulateSoftmaxOp accumulate_softmax_op(CpuIsa isa) {
  return isa >= CpuIsa::kAvx512 ? N_AVX3::kAccumulate : N_AVX2::kAccumulate;
}

}  // namespace zerostream
#endif  // HWY_ONCE
