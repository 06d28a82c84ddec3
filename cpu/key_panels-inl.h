// Transposition of keys into panels, once per instruction set. Include after cpu/simd-inl.h.
#if defined(ZS_CPU_KEY_PANELS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ZS_CPU_KEY_PANELS_INL_H_
#undef ZS_CPU_KEY_PANELS_INL_H_
#else
#define ZS_CPU_KEY_PANELS_INL_H_
#endif

#include "cpu/simd-inl.h"
#include "hwy/cache_control.h"

#if ZS_VECTOR_TARGET
HWY_BEFORE_NAMESPACE();
namespace zerostream {
namespace HWY_NAMESPACE {
namespace {

// Keys lie in panels of so many positions, a cache line of them for each column.
constexpr int64_t kPanel = 16;

// Transposes 4 vectors within each block of 4 lanes.
HWY_INLINE void transpose_blocks(FloatVec* v) {
  const Floats d;
  const hn::Repartition<double, Floats> d64;
  const auto low01 = hn::BitCast(d64, hn::InterleaveLower(d, v[0], v[1]));
  const auto low23 = hn::BitCast(d64, hn::InterleaveLower(d, v[2], v[3]));
  const auto high01 = hn::BitCast(d64, hn::InterleaveUpper(d, v[0], v[1]));
  const auto high23 = hn::BitCast(d64, hn::InterleaveUpper(d, v[2], v[3]));
  v[0] = hn::BitCast(d, hn::InterleaveLower(d64, low01, low23));
  v[1] = hn::BitCast(d, hn::InterleaveUpper(d64, low01, low23));
  v[2] = hn::BitCast(d, hn::InterleaveLower(d64, high01, high23));
  v[3] = hn::BitCast(d, hn::InterleaveUpper(d64, high01, high23));
}

// Block b of vector g becomes block g of vector b, for vectors that are 4 apart.
HWY_INLINE void exchange_blocks(FloatVec* v) {
  const Floats d;
  if constexpr (kLanes == 16) {
    FloatVec even[2], odd[2];
    for (int i = 0; i < 2; ++i) {
      even[i] = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(v[8 * i + 4]), v[8 * i]);
      odd[i] = hn::OddEvenBlocks(v[8 * i + 4], hn::SwapAdjacentBlocks(v[8 * i]));
    }
    v[0] = hn::ConcatLowerLower(d, even[1], even[0]);
    v[4] = hn::ConcatLowerLower(d, odd[1], odd[0]);
    v[8] = hn::ConcatUpperUpper(d, even[1], even[0]);
    v[12] = hn::ConcatUpperUpper(d, odd[1], odd[0]);
  } else {
    const FloatVec low = hn::ConcatLowerLower(d, v[4], v[0]);
    v[4] = hn::ConcatUpperUpper(d, v[4], v[0]);
    v[0] = low;
  }
}

// Column `index` of those that lie in a word of 4 bytes.
template <int index>
HWY_INLINE FloatVec column_of(FloatVec words, const float*) {
  return words;
}
template <int index>
HWY_INLINE FloatVec column_of(FloatVec words, const Bf16*) {
  const Floats d;
  const hn::RebindToUnsigned<Floats> du;
  const auto bits = hn::BitCast(du, words);
  return hn::BitCast(
      d, index == 0 ? hn::ShiftLeft<16>(bits) : hn::And(bits, hn::Set(du, 0xffff0000u)));
}
template <int index>
HWY_INLINE FloatVec column_of(FloatVec words, const Fp16*) {
  const hn::RebindToSigned<Floats> di;
  const hn::RebindToUnsigned<Floats> du;
  const hn::Rebind<uint16_t, Floats> d16;
  const auto bits = hn::BitCast(du, words);
  const auto own = index == 0 ? hn::And(bits, hn::Set(du, 0xffff)) : hn::ShiftRight<16>(bits);
  return hn::PromoteTo(
      Floats(), hn::BitCast(hn::Rebind<Fp16, Floats>(), hn::DemoteTo(d16, hn::BitCast(di, own))));
}
template <int index>
HWY_INLINE FloatVec column_of(FloatVec words, const int8_t*) {
  const hn::RebindToSigned<Floats> di;
  const auto top = hn::ShiftLeft<24 - 8 * index>(hn::BitCast(di, words));
  return hn::ConvertTo(Floats(), hn::ShiftRight<24>(top));
}

template <typename T, int index = 0>
HWY_INLINE void store_columns(FloatVec words, int64_t count, float* target) {
  if (index >= count) return;
  store(Floats(), column_of<index>(words, static_cast<const T*>(nullptr)), target + index * kPanel);
  if constexpr ((index + 1) * sizeof(T) < 4) store_columns<T, index + 1>(words, count, target);
}

HWY_INLINE FloatVec load_bytes(const std::byte* source, int64_t count) {
  const Floats d;
  if (count >= 4 * kLanes) return load(d, reinterpret_cast<const float*>(source));
  HWY_ALIGN float lanes[kLanes] = {};
  std::memcpy(lanes, source, static_cast<size_t>(count));
  return hn::Load(d, lanes);
}

// target[column * kPanel + k] = keys[k][column] for kLanes keys of type T. Fetches `ahead`, which
// are wanted later.
template <typename T>
HWY_INLINE void transpose_keys(const std::byte* const* keys, const std::byte* const* ahead,
                               int64_t dim, float* target) {
  constexpr int64_t kColumns = 4 / sizeof(T);  // in a word
  const int64_t bytes = dim * static_cast<int64_t>(sizeof(T));
  for (int64_t at = 0; at < bytes; at += 4 * kLanes, target += kLanes * kColumns * kPanel) {
    FloatVec words[kLanes];
    for (int k = 0; k < kLanes; ++k) {
      words[k] = load_bytes(keys[k] + at, bytes - at);
      hwy::Prefetch(ahead[k] + at);
    }
    for (int k = 0; k < kLanes; k += 4) transpose_blocks(words + k);
    for (int k = 0; k < 4; ++k) exchange_blocks(words + k);
    const int64_t columns = dim - at / static_cast<int64_t>(sizeof(T));
    for (int k = 0; k < kLanes; ++k)
      store_columns<T>(words[k], columns - k * kColumns, target + k * kColumns * kPanel);
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace zerostream
HWY_AFTER_NAMESPACE();
#endif  // ZS_VECTOR_TARGET
#endif  // ZS_CPU_KEY_PANELS_INL_H_
