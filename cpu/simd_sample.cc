#include "cpu/simd_sample.h"

#include <algorithm>

#include "cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/simd_sample.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "cpu/simd-inl.h"

#if ZS_VECTOR_TARGET
HWY_BEFORE_NAMESPACE();
namespace zerostream {
namespace HWY_NAMESPACE {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
using Ids = hn::Rebind<int32_t, Floats>;

// As load_some, with `filler` behind.
HWY_INLINE FloatVec load_filled(const float* source, int64_t count, float filler) {
  const Floats d;
  return hn::IfThenElse(hn::FirstN(d, static_cast<size_t>(count)), load_some(d, source, count),
                        hn::Set(d, filler));
}

LargestScore largest(const float* scores, int64_t count) {
  const Floats d;
  const Ids di;
  FloatVec best = hn::Set(d, -kInfinity);
  auto best_ids = hn::Zero(di);
  auto ids = hn::Iota(di, 0);
  auto usable = hn::Eq(best, best);
  const auto step = [&](FloatVec v) HWY_ATTR {
    const auto better = hn::Gt(v, best);
    best = hn::IfThenElse(better, v, best);
    best_ids = hn::IfThenElse(hn::RebindMask(di, better), ids, best_ids);
    usable = hn::And(usable, hn::Lt(v, hn::Set(d, kInfinity)));
    ids = hn::Add(ids, hn::Set(di, static_cast<int32_t>(kLanes)));
  };
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) step(load(d, scores + i));
  if (i < count) step(load_filled(scores + i, count - i, -kInfinity));

  HWY_ALIGN float lane_scores[kLanes];
  HWY_ALIGN int32_t lane_ids[kLanes];
  hn::Store(best, d, lane_scores);
  hn::Store(best_ids, di, lane_ids);
  LargestScore result = {lane_ids[0], lane_scores[0], false};
  for (int64_t lane = 1; lane < kLanes; ++lane) {
    if (lane_scores[lane] < result.score) continue;
    if (lane_scores[lane] == result.score && lane_ids[lane] > result.id) continue;
    result.score = lane_scores[lane];
    result.id = lane_ids[lane];
  }
  result.usable = hn::AllTrue(d, usable) && result.score > -kInfinity;
  return result;
}

double weigh(const float* scores, int64_t count, const WeightRule& rule, float* weights,
             double* chunk_sums) {
  const Floats d;
  const FloatVec cut = hn::Set(d, rule.cut_score);
  const FloatVec cut_id = hn::Set(d, static_cast<float>(rule.cut_id));
  const auto weight = [=](int64_t id, FloatVec score) HWY_ATTR {
    const FloatVec ids = hn::Iota(d, static_cast<float>(id));
    const FloatVec exponent =
        hn::Div(hn::Sub(score, hn::Set(d, rule.largest)), hn::Set(d, rule.temperature));
    const auto kept = hn::Or(hn::Gt(score, cut), hn::And(hn::Eq(score, cut), hn::Le(ids, cut_id)));
    const auto heavy = hn::Ge(exponent, hn::Set(d, rule.least_exponent));
    return hn::IfThenElseZero(hn::And(kept, heavy), hn::Exp(d, exponent));
  };
  double total = 0;
  for (int64_t begin = 0; begin < count; begin += kSampleChunk) {
    const int64_t end = std::min(begin + kSampleChunk, count);
    FloatVec sum = hn::Zero(d);
    int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes) {
      const FloatVec w = weight(i, load(d, scores + i));
      store(d, w, weights + i);
      sum = hn::Add(sum, w);
    }
    if (i < end) {
      const FloatVec w = weight(i, load_filled(scores + i, end - i, -kInfinity));
      store_some(d, w, weights + i, end - i);
      sum = hn::Add(sum, w);
    }
    chunk_sums[begin / kSampleChunk] = double{hn::GetLane(hn::SumOfLanes(d, sum))};
    total += chunk_sums[begin / kSampleChunk];
  }
  return total;
}

int64_t select(const float* scores, int64_t begin, int64_t end, float threshold, int32_t* ids) {
  const Floats d;
  const Ids di;
  int64_t found = 0;
  for (int64_t i = begin; i < end; i += kLanes) {
    const FloatVec v =
        i + kLanes <= end ? load(d, scores + i) : load_filled(scores + i, end - i, -kInfinity);
    const auto above = hn::Gt(v, hn::Set(d, threshold));
    if (hn::AllFalse(d, above)) continue;
    HWY_ALIGN int32_t lanes[kLanes];
    const size_t more = hn::CompressStore(hn::Iota(di, static_cast<int32_t>(i)),
                                          hn::RebindMask(di, above), di, lanes);
    std::copy(lanes, lanes + more, ids + found);
    found += static_cast<int64_t>(more);
  }
  return found;
}

constexpr SampleOps kSampleOps = {largest, weigh, select};

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace zerostream
HWY_AFTER_NAMESPACE();
#endif  // ZS_VECTOR_TARGET

#if HWY_ONCE
namespace zerostream {

const SampleOps& sample_ops(CpuIsa isa) {
  return isa >= CpuIsa::kAvx512 ? N_AVX3::kSampleOps : N_AVX2::kSampleOps;
}

}  // namespace zerostream
#endif  // HWY_ONCE
