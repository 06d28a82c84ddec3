// Loads, stores and sums that the vectorised sources share, once per instruction set.
#if defined(ZS_CPU_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ZS_CPU_SIMD_INL_H_
#undef ZS_CPU_SIMD_INL_H_
#else
#define ZS_CPU_SIMD_INL_H_
#endif

#include <cstring>

#include "base/dtype.h"
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

#if ZS_VECTOR_TARGET
HWY_BEFORE_NAMESPACE();
namespace zerostream {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using FloatVec = hn::Vec<Floats>;
constexpr int64_t kLanes = HWY_LANES(float);

// The element types of TensorView, as Highway knows them.
using Fp16 = hwy::float16_t;
using Bf16 = hwy::bfloat16_t;

template <class D>
HWY_INLINE hn::Vec<D> load(D d, const float* source) {
  return hn::LoadU(d, source);
}
template <class D>
HWY_INLINE hn::Vec<D> load(D d, const Fp16* source) {
  return hn::PromoteTo(d, hn::LoadU(hn::Rebind<Fp16, D>(), source));
}
template <class D>
HWY_INLINE hn::Vec<D> load(D d, const Bf16* source) {
  const hn::Rebind<uint16_t, D> d16;
  const hn::Rebind<uint32_t, D> d32;
  const auto bits = hn::LoadU(d16, reinterpret_cast<const uint16_t*>(source));
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(d32, bits)));
}
template <class D>
HWY_INLINE hn::Vec<D> load(D d, const int8_t* source) {
  const hn::Rebind<int32_t, D> d32;
  return hn::ConvertTo(d, hn::PromoteTo(d32, hn::LoadU(hn::Rebind<int8_t, D>(), source)));
}

template <class D>
HWY_INLINE void store(D d, hn::Vec<D> v, float* target) {
  hn::StoreU(v, d, target);
}
template <class D>
HWY_INLINE void store(D d, hn::Vec<D> v, Fp16* target) {
  (void)d;
  const hn::Rebind<Fp16, D> d16;
  hn::StoreU(hn::DemoteTo(d16, v), d16, target);
}
// Rounds to nearest even; NaN stays NaN.
template <class D>
HWY_INLINE void store(D d, hn::Vec<D> v, Bf16* target) {
  (void)d;
  const hn::Rebind<int32_t, D> di;
  const hn::Rebind<uint32_t, D> du;
  const hn::Rebind<uint16_t, D> d16;
  const auto bits = hn::BitCast(du, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1));
  const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7fff)));
  const auto quiet = hn::Or(bits, hn::Set(du, 0x400000));
  const auto nan = hn::RebindMask(du, hn::IsNaN(v));
  const auto high = hn::ShiftRight<16>(hn::IfThenElse(nan, quiet, rounded));
  hn::StoreU(hn::DemoteTo(d16, hn::BitCast(di, high)), d16, reinterpret_cast<uint16_t*>(target));
}
// Rounds to nearest even, from -128 to 127.
template <class D>
HWY_INLINE void store(D d, hn::Vec<D> v, int8_t* target) {
  (void)d;
  const hn::Rebind<int8_t, D> d8;
  hn::StoreU(hn::DemoteTo(d8, hn::NearestInt(v)), d8, target);
}

// The first `count` (fewer than a vector's) elements, zeros behind; nothing past them is touched.
template <class D, typename T>
HWY_INLINE hn::Vec<D> load_some(D d, const T* source, int64_t count) {
  HWY_ALIGN T lanes[hn::MaxLanes(D())] = {};
  std::memcpy(lanes, source, static_cast<size_t>(count) * sizeof(T));
  return load(d, lanes);
}
template <class D, typename T>
HWY_INLINE void store_some(D d, hn::Vec<D> v, T* target, int64_t count) {
  HWY_ALIGN T lanes[hn::MaxLanes(D())];
  store(d, v, lanes);
  std::memcpy(target, lanes, static_cast<size_t>(count) * sizeof(T));
}

// target[i] = map(i, source[i]) for a row of any element types; map works on vectors.
template <typename S, typename T, class Map>
HWY_INLINE void map_row(const S* source, T* target, int64_t count, const Map& map) {
  const Floats d;
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    store(d, map(i, kLanes, load(d, source + i)), target + i);
  if (i == count) return;
  const int64_t rest = count - i;
  store_some(d, map(i, rest, load_some(d, source + i, rest)), target + i, rest);
}

template <typename S, typename T>
HWY_INLINE void convert_row(const S* source, T* target, int64_t count) {
  map_row(source, target, count, [](int64_t, int64_t, FloatVec v) HWY_ATTR { return v; });
}

// Sum of map(source[i]) in an order that depends on `count` alone.
template <class Map>
HWY_INLINE float sum_row(const float* source, int64_t count, const Map& map) {
  const Floats d;
  FloatVec sum0 = hn::Zero(d), sum1 = sum0, sum2 = sum0, sum3 = sum0;
  int64_t i = 0;
  for (; i + 4 * kLanes <= count; i += 4 * kLanes) {
    sum0 = hn::Add(sum0, map(load(d, source + i)));
    sum1 = hn::Add(sum1, map(load(d, source + i + kLanes)));
    sum2 = hn::Add(sum2, map(load(d, source + i + 2 * kLanes)));
    sum3 = hn::Add(sum3, map(load(d, source + i + 3 * kLanes)));
  }
  for (; i + kLanes <= count; i += kLanes) sum0 = hn::Add(sum0, map(load(d, source + i)));
  if (i < count) {
    const FloatVec rest = map(load_some(d, source + i, count - i));
    sum1 = hn::Add(sum1, hn::IfThenElseZero(hn::FirstN(d, static_cast<size_t>(count - i)), rest));
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(sum0, sum1), hn::Add(sum2, sum3))));
}

// e^x; unlike Highway's, NaN for NaN.
HWY_INLINE FloatVec exp_or_nan(FloatVec x) {
  return hn::IfThenElse(hn::IsNaN(x), x, hn::Exp(Floats(), x));
}

// Calls work with a pointer of the element type that `dtype` names.
template <typename Byte, class Work>
HWY_INLINE void with_type(Byte* data, DType dtype, const Work& work) {
  using std::conditional_t;
  constexpr bool kConst = std::is_const_v<Byte>;
  switch (dtype) {
    case DType::kF16:
      return work(reinterpret_cast<conditional_t<kConst, const Fp16, Fp16>*>(data));
    case DType::kBF16:
      return work(reinterpret_cast<conditional_t<kConst, const Bf16, Bf16>*>(data));
    default:
      return work(reinterpret_cast<conditional_t<kConst, const float, float>*>(data));
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace zerostream
HWY_AFTER_NAMESPACE();
#endif  // ZS_VECTOR_TARGET
#endif  // ZS_CPU_SIMD_INL_H_
