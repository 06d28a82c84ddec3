#include "cpu/quantise_rows.h"

#include <algorithm>
#include <bit>

#include "cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/quantise_rows.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "cpu/simd-inl.h"

#if ZS_VECTOR_TARGET
HWY_BEFORE_NAMESPACE();
namespace zerostream {
namespace HWY_NAMESPACE {
namespace {

using Integers = hn::RebindToSigned<Floats>;

// By their bits magnitudes are ordered as integers, NaN above all.
template <typename T>
HWY_INLINE float largest_magnitude(const T* source, int64_t count) {
  const Floats d;
  const Integers di;
  auto largest = hn::Zero(di);
  for (int64_t i = 0; i < count; i += kLanes)
    largest = hn::Max(largest, hn::BitCast(di, hn::Abs(load(d, source + i))));
  return std::bit_cast<float>(hn::GetLane(hn::MaxOfLanes(di, largest)));
}

template <typename T>
HWY_INLINE void quantise_row(const T* source, int64_t row, const QuantisedRows& target) {
  const Floats d;
  const Integers di;
  const hn::Rebind<int8_t, Floats> d8;
  const RowStep step = row_step(largest_magnitude(source, target.row_bytes));
  const FloatVec inverse = hn::Set(d, step.inverse);
  auto* data = reinterpret_cast<int8_t*>(target.data + row * target.row_bytes);
  target.steps[row] = step.step;
  for (int64_t begin = 0; begin < target.row_bytes; begin += target.group_size) {
    auto sum = hn::Zero(di);
    for (int64_t i = begin; i < begin + target.group_size; i += kLanes) {
      const auto integers = hn::NearestInt(hn::Mul(load(d, source + i), inverse));
      sum = hn::Add(sum, integers);
      hn::StoreU(hn::DemoteTo(d8, integers), d8, data + i);
    }
    const int64_t group = begin / target.group_size;
    if (group < target.groups)
      target.group_sums[row * target.groups + group] =
          static_cast<float>(hn::GetLane(hn::SumOfLanes(di, sum)));
  }
}

void quantise(const TensorView& source, int64_t begin, int64_t end, const QuantisedRows& target) {
  for (int64_t row = begin; row < end; ++row)
    with_type(source.row(row), source.dtype,
              [&](const auto* from) HWY_ATTR { quantise_row(from, row, target); });
}

constexpr QuantiseRows kQuantise = quantise;

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace zerostream
HWY_AFTER_NAMESPACE();
#endif  // ZS_VECTOR_TARGET

#if HWY_ONCE
namespace zerostream {

QuantiseRows quantise_rows(CpuIsa isa) {
  return isa >= CpuIsa::kAvx512 ? N_AVX3::kQuantise : N_AVX2::kQuantise;
}

}  // namespace zerostream
#endif  // HWY_ONCE
