// Panel kernels in fp32 arithmetic. fp32 weights are multiplied as they are; fp16 and bf16 are
// widened first, a few tiles at a time, and then take the same path.
#include <algorithm>

#include "base/tensor.h"
#include "cpu/gemm_kernel.h"
#include "cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/gemm_simd.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "cpu/simd-inl.h"
#include "hwy/cache_control.h"

#if ZS_VECTOR_TARGET
HWY_BEFORE_NAMESPACE();
namespace zerostream {
namespace HWY_NAMESPACE {
namespace {

// Rows and vectors of outputs whose sums stay in registers: 24 of 32, or 12 of 16.
constexpr int kBlockRows = 6;
constexpr int kStripVectors = HWY_TARGET == HWY_AVX3 ? 4 : 2;
constexpr int64_t kStrip = kStripVectors * kLanes;
constexpr int64_t kPrefetchFloats = 2048;

// An fp32 product: rows of `inputs` elements times inputs × 64 outputs.
struct Product {
  const float* source;
  int64_t source_stride;
  const float* weights;
  int64_t inputs;
  float* sums;
  bool keep_sums;
};

template <int kRows>
HWY_INLINE void multiply_strip(const Product& p, int64_t strip) {
  const Floats d;
  FloatVec sum[kRows][kStripVectors];
  float* sums = p.sums + strip;
  for (int row = 0; row < kRows; ++row)
    for (int v = 0; v < kStripVectors; ++v)
      sum[row][v] =
          p.keep_sums ? hn::Load(d, sums + row * kPanelOutputs + v * kLanes) : hn::Zero(d);
  const float* weights = p.weights + strip;
  for (int64_t input = 0; input < p.inputs; ++input, weights += kPanelOutputs) {
    FloatVec weight[kStripVectors];
    for (int v = 0; v < kStripVectors; ++v) {
      weight[v] = hn::Load(d, weights + v * kLanes);
      if (v * kLanes % 16 == 0) hwy::Prefetch(weights + v * kLanes + kPrefetchFloats);
    }
    for (int row = 0; row < kRows; ++row) {
      const FloatVec x = hn::Set(d, p.source[row * p.source_stride + input]);
      for (int v = 0; v < kStripVectors; ++v) sum[row][v] = hn::MulAdd(x, weight[v], sum[row][v]);
    }
  }
  for (int row = 0; row < kRows; ++row)
    for (int v = 0; v < kStripVectors; ++v)
      hn::Store(sum[row][v], d, sums + row * kPanelOutputs + v * kLanes);
}

template <int kRows>
void multiply_rows(const Product& p) {
  for (int64_t strip = 0; strip < kPanelOutputs; strip += kStrip) multiply_strip<kRows>(p, strip);
}

constexpr void (*kMultiply[])(const Product&) = {
    nullptr,          multiply_rows<1>, multiply_rows<2>, multiply_rows<3>,
    multiply_rows<4>, multiply_rows<5>, multiply_rows<6>};

void multiply_f32(const PanelProduct& p) {
  Product part{.source = reinterpret_cast<const float*>(p.source),
               .source_stride = p.source_row_bytes / int64_t{sizeof(float)},
               .weights = reinterpret_cast<const float*>(p.tiles),
               .inputs = p.num_tiles * tile_inputs(DType::kF32),
               .sums = p.sums,
               .keep_sums = p.keep_sums};
  for (int64_t row = 0; row < p.rows; row += kBlockRows) {
    kMultiply[std::min<int64_t>(kBlockRows, p.rows - row)](part);
    part.source += kBlockRows * part.source_stride;
    part.sums += kBlockRows * kPanelOutputs;
  }
}

// The first and the second element of each pair.
HWY_INLINE void widen_pairs(const Bf16* pairs, float* first, float* second) {
  const Floats d;
  const hn::RebindToUnsigned<Floats> du;
  const auto bits = hn::Load(du, reinterpret_cast<const uint32_t*>(pairs));
  hn::Store(hn::BitCast(d, hn::ShiftLeft<16>(bits)), d, first);
  hn::Store(hn::BitCast(d, hn::And(bits, hn::Set(du, 0xffff0000u))), d, second);
}
HWY_INLINE void widen_pairs(const Fp16* pairs, float* first, float* second) {
  const Floats d;
  const hn::RebindToUnsigned<Floats> du;
  const hn::Rebind<uint16_t, Floats> d16;
  const hn::Rebind<Fp16, Floats> dh;
  const auto bits = hn::Load(du, reinterpret_cast<const uint32_t*>(pairs));
  const auto low = hn::TruncateTo(d16, bits);
  const auto high = hn::TruncateTo(d16, hn::ShiftRight<16>(bits));
  hn::Store(hn::PromoteTo(d, hn::BitCast(dh, low)), d, first);
  hn::Store(hn::PromoteTo(d, hn::BitCast(dh, high)), d, second);
}

constexpr int64_t kWideTiles = 4;
constexpr int64_t kWideInputs = kWideTiles * tile_inputs(DType::kBF16);

template <typename T>
void widen_tiles(const T* tiles, int64_t inputs, float* wide) {
  for (int64_t pair = 0; pair < inputs / 2; ++pair) {
    const T* pairs = tiles + pair * 2 * kPanelOutputs;
    float* first = wide + pair * 2 * kPanelOutputs;
    for (int64_t output = 0; output < kPanelOutputs; output += kLanes) {
      widen_pairs(pairs + 2 * output, first + output, first + kPanelOutputs + output);
      if (output % 16 == 0) hwy::Prefetch(pairs + 2 * output + 2 * kPrefetchFloats);
    }
  }
}

template <typename T>
void widen_rows(const PanelProduct& p, int64_t row_begin, int64_t rows, int64_t input_begin,
                int64_t inputs, float* wide) {
  for (int64_t row = 0; row < rows; ++row) {
    const std::byte* source = p.source + (row_begin + row) * p.source_row_bytes;
    convert_row(reinterpret_cast<const T*>(source) + input_begin, wide + row * kWideInputs, inputs);
  }
}

template <typename T>
void multiply_widened(const PanelProduct& p) {
  alignas(64) float weights[kWideInputs * kPanelOutputs];
  alignas(64) float source[kBlockRows * kWideInputs];
  const int64_t all_inputs = p.num_tiles * tile_inputs(DType::kBF16);
  for (int64_t begin = 0; begin < all_inputs; begin += kWideInputs) {
    const int64_t inputs = std::min(kWideInputs, all_inputs - begin);
    widen_tiles(reinterpret_cast<const T*>(p.tiles) + begin * kPanelOutputs, inputs, weights);
    for (int64_t row = 0; row < p.rows; row += kBlockRows) {
      const int64_t rows = std::min<int64_t>(kBlockRows, p.rows - row);
      widen_rows<T>(p, row, rows, begin, inputs, source);
      kMultiply[rows]({.source = source,
                       .source_stride = kWideInputs,
                       .weights = weights,
                       .inputs = inputs,
                       .sums = p.sums + row * kPanelOutputs,
                       .keep_sums = p.keep_sums || begin > 0});
    }
  }
}

PanelKernel kernel_of(DType dtype) {
  if (dtype == DType::kF16) return {multiply_widened<Fp16>, 64};
  if (dtype == DType::kBF16) return {multiply_widened<Bf16>, 64};
  return {multiply_f32, 32};
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace zerostream
HWY_AFTER_NAMESPACE();
#endif  // ZS_VECTOR_TARGET

#if HWY_ONCE
namespace zerostream {

PanelKernel simd_panel_kernel(DType dtype, CpuIsa isa) {
  return isa >= CpuIsa::kAvx512 ? N_AVX3::kernel_of(dtype) : N_AVX2::kernel_of(dtype);
}

}  // namespace zerostream
#endif  // HWY_ONCE
