#include "cpu/gemm_dequantise.h"

#include <algorithm>
#include <bit>

#include "base/tensor.h"
#include "cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/gemm_dequantise.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "cpu/simd-inl.h"

#if ZS_VECTOR_TARGET
HWY_BEFORE_NAMESPACE();
namespace zerostream {
namespace HWY_NAMESPACE {
namespace {

using Words = hn::RebindToUnsigned<Floats>;
using WordVec = hn::Vec<Words>;

// A word of a tile holds four inputs of one output, in int4 four of the first 64 inputs and four of
// the last; a quad row is the words of all outputs.
constexpr int64_t kQuadRowWords = kPanelOutputs;
constexpr int64_t kQuadRowElements = 4 * kPanelOutputs;
constexpr int64_t kTileQuadRows = 16;
constexpr int64_t kHalfInputs = 64;
constexpr int64_t kHalfElements = kHalfInputs * kPanelOutputs;
constexpr int64_t kAheadBytes = 4 * kTileBytes;

// An integer q of kBits whose lowest bit is bit kPlace of a word becomes the fp32 number
// 2^(23 - kPlace) + q when it is put into the mantissa of 2^(23 - kPlace).
template <int kPlace>
constexpr float kBase = static_cast<float>(1 << (23 - kPlace));

template <int kBits, int kPlace>
HWY_INLINE FloatVec with_base(WordVec words) {
  const Words d;
  constexpr auto kMask = ((1u << kBits) - 1) << kPlace;
  const auto base = hn::Set(d, std::bit_cast<uint32_t>(kBase<kPlace>));
  return hn::BitCast(Floats(), hn::OrAnd(base, words, hn::Set(d, kMask)));
}

template <int kLeft>
HWY_INLINE WordVec shift(WordVec words) {
  if constexpr (kLeft > 0)
    return hn::ShiftLeft<kLeft>(words);
  else if constexpr (kLeft < 0)
    return hn::ShiftRight<-kLeft>(words);
  else
    return words;
}

// scale * (q - zero) as (2^n + q) * scale + offset with offset = -(2^n + zero) * scale. Places of
// 12 and more keep offset and result exact in fp32: a scale has 11 bits.
struct GroupScale {
  FloatVec scale;
  FloatVec offset;
};

template <int kBits, int kPlace>
HWY_INLINE GroupScale group_scale(const QuantisedRun& run, int64_t group, int64_t output) {
  const Floats d;
  static_assert(kPlace >= 12);
  if (group >= run.groups) return {hn::Zero(d), hn::Zero(d)};
  const std::byte* entry = run.table + group * run.group_bytes;
  const FloatVec scale = load(d, reinterpret_cast<const Fp16*>(entry) + output);
  FloatVec zero = hn::Set(d, static_cast<float>(1 << (kBits - 1)));
  if (run.has_zeros) {
    const hn::Rebind<uint8_t, Floats> d8;
    const auto* zeros = reinterpret_cast<const uint8_t*>(entry + 2 * kPanelOutputs);
    const auto bytes = hn::LoadU(d8, zeros + output);
    zero = hn::ConvertTo(d, hn::PromoteTo(hn::RebindToSigned<Floats>(), bytes));
  }
  return {scale, hn::Mul(hn::Neg(scale), hn::Add(hn::Set(d, kBase<kPlace>), zero))};
}

HWY_INLINE void store_pair(FloatVec first, FloatVec second, Bf16* target) {
  const Words d;
  const auto half = hn::Set(d, 0x8000u);
  const auto low = hn::ShiftRight<16>(hn::Add(hn::BitCast(d, first), half));
  const auto high = hn::Add(hn::BitCast(d, second), half);
  hn::Store(hn::OrAnd(low, high, hn::Set(d, 0xffff0000u)), d, reinterpret_cast<uint32_t*>(target));
}
HWY_INLINE void store_pair(FloatVec first, FloatVec second, Fp16* target) {
  const Words d;
  const hn::Rebind<Fp16, Floats> dh;
  const hn::Rebind<uint16_t, Floats> d16;
  const auto low = hn::PromoteTo(d, hn::BitCast(d16, hn::DemoteTo(dh, first)));
  const auto high = hn::PromoteTo(d, hn::BitCast(d16, hn::DemoteTo(dh, second)));
  hn::Store(hn::Or(low, hn::ShiftLeft<16>(high)), d, reinterpret_cast<uint32_t*>(target));
}

// Four inputs of as many outputs as a vector has lanes; `row` is where their quad row begins.
template <typename T>
HWY_INLINE void store_quad(FloatVec w0, FloatVec w1, FloatVec w2, FloatVec w3, T* row,
                           int64_t output) {
  store_pair(w0, w1, row + 2 * output);
  store_pair(w2, w3, row + 2 * (kPanelOutputs + output));
}
HWY_INLINE void store_quad(FloatVec w0, FloatVec w1, FloatVec w2, FloatVec w3, float* row,
                           int64_t output) {
  const Floats d;
  hn::Store(w0, d, row + output);
  hn::Store(w1, d, row + kPanelOutputs + output);
  hn::Store(w2, d, row + 2 * kPanelOutputs + output);
  hn::Store(w3, d, row + 3 * kPanelOutputs + output);
}

// Four integers, byte j shifted left by kShift - 8 * j.
template <int kBits, int kPlace, int kShift, typename T>
HWY_INLINE void dequantise_quad(WordVec words, const GroupScale& group, T* row, int64_t output) {
  const auto number = [&](WordVec shifted) HWY_ATTR {
    return hn::MulAdd(with_base<kBits, kPlace>(shifted), group.scale, group.offset);
  };
  store_quad(number(shift<kShift>(words)), number(shift<kShift - 8>(words)),
             number(shift<kShift - 16>(words)), number(shift<kShift - 24>(words)), row, output);
}

// Quad rows of one tile that lie within one group, or within one of each half.
struct Unit {
  int64_t tile;
  int64_t row_begin;
  int64_t rows;
};

HWY_INLINE WordVec load_words(const uint32_t* words) {
  __builtin_prefetch(reinterpret_cast<const std::byte*>(words) + kAheadBytes);
  return hn::Load(Words(), words);
}

template <typename T>
void dequantise_int8(const QuantisedRun& run, const Unit& unit) {
  const auto* words = reinterpret_cast<const uint32_t*>(run.tiles + unit.tile * kTileBytes);
  T* target = reinterpret_cast<T*>(run.target) + unit.tile * kHalfElements;
  const int64_t group = (unit.tile * kHalfInputs + 4 * unit.row_begin) / run.group_size;
  for (int64_t output = 0; output < kPanelOutputs; output += kLanes) {
    const GroupScale scale = group_scale<8, 12>(run, group, output);
    for (int64_t row = unit.row_begin; row < unit.row_begin + unit.rows; ++row)
      dequantise_quad<8, 12, 12>(load_words(words + row * kQuadRowWords + output), scale,
                                 target + row * kQuadRowElements, output);
  }
}

template <typename T>
void dequantise_int4(const QuantisedRun& run, const Unit& unit) {
  const auto* words = reinterpret_cast<const uint32_t*>(run.tiles + unit.tile * kTileBytes);
  T* target = reinterpret_cast<T*>(run.target) + unit.tile * 2 * kHalfElements;
  const int64_t input = unit.tile * 2 * kHalfInputs + 4 * unit.row_begin;
  const int64_t group = input / run.group_size;
  const int64_t high_group = (input + kHalfInputs) / run.group_size;
  for (int64_t output = 0; output < kPanelOutputs; output += kLanes) {
    const GroupScale scale = group_scale<4, 16>(run, group, output);
    const GroupScale high_scale = group_scale<4, 12>(run, high_group, output);
    for (int64_t row = unit.row_begin; row < unit.row_begin + unit.rows; ++row) {
      const WordVec quad = load_words(words + row * kQuadRowWords + output);
      dequantise_quad<4, 16, 16>(quad, scale, target + row * kQuadRowElements, output);
      dequantise_quad<4, 12, 8>(quad, high_scale, target + kHalfElements + row * kQuadRowElements,
                                output);
    }
  }
}

template <void (*kDequantise)(const QuantisedRun&, const Unit&)>
void for_units(const QuantisedRun& run) {
  const int64_t rows = std::min<int64_t>(run.group_size / 4, kTileQuadRows);
  for (int64_t tile = 0; tile < run.num_tiles; ++tile)
    for (int64_t row = 0; row < kTileQuadRows; row += rows) kDequantise(run, {tile, row, rows});
}

void unpack_int4(const QuantisedRun& run) {
  const Words d;
  const auto mask = hn::Set(d, 0x0f0f0f0fu);
  const auto* words = reinterpret_cast<const uint32_t*>(run.tiles);
  auto* target = reinterpret_cast<uint32_t*>(run.target);
  constexpr int64_t kTileWords = kTileBytes / 4;
  for (int64_t tile = 0; tile < run.num_tiles;
       ++tile, words += kTileWords, target += 2 * kTileWords)
    for (int64_t i = 0; i < kTileWords; i += kLanes) {
      const WordVec quads = load_words(words + i);
      hn::Store(hn::And(quads, mask), d, target + i);
      hn::Store(hn::And(hn::ShiftRight<4>(quads), mask), d, target + kTileWords + i);
    }
}

Dequantise choose(DType weight, DType target) {
  const bool int8 = weight == DType::kI8;
  switch (target) {
    case DType::kBF16:
      return int8 ? for_units<dequantise_int8<Bf16>> : for_units<dequantise_int4<Bf16>>;
    case DType::kF16:
      return int8 ? for_units<dequantise_int8<Fp16>> : for_units<dequantise_int4<Fp16>>;
    case DType::kI8:
      return unpack_int4;
    default:
      return int8 ? for_units<dequantise_int8<float>> : for_units<dequantise_int4<float>>;
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace zerostream
HWY_AFTER_NAMESPACE();
#endif  // ZS_VECTOR_TARGET

#if HWY_ONCE
namespace zerostream {

Dequantise dequantise(DType weight, DType target, CpuIsa isa) {
  return isa >= CpuIsa::kAvx512 ? N_AVX3::choose(weight, target) : N_AVX2::choose(weight, target);
}

}  // namespace zerostream
#endif  // HWY_ONCE
