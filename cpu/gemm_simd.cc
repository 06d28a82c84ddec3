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

#if ZS_VECTOR_TARGET
HWY_BEFORE_NAMESPACE();
namespace zerostream {
namespace HWY_NAMESPACE {
namespace {

// Rows and vectors of outputs whose sums stay in registers: 24 of 32, or 12 of 16.
constexpr int64_t kBlockRows = 6;
constexpr int kStripVectors = HWY_TARGET == HWY_AVX3 ? 4 : 2;
constexpr int64_t kStrip = kStripVectors * kLanes;

// One row block of a product in fp32, or of a few tiles of it, widened.
struct Block {
  const float* source;
  int64_t source_stride;
  const float* weights;
  int64_t inputs;
  float* sums;
  bool keep_sums;
};

template <int kRows>
HWY_INLINE void multiply_strip(const Block& block, int64_t strip) {
  const Floats d;
  FloatVec sum[kRows][kStripVectors];
  float* sums = block.sums + strip;
  for (int row = 0; row < kRows; ++row)
    for (int v = 0; v < kStripVectors; ++v)
      sum[row][v] =
          block.keep_sums ? hn::Load(d, sums + row * kPanelOutputs + v * kLanes) : hn::Zero(d);
  const float* weights = block.weights + strip;
  for (int64_t input = 0; input < block.inputs; ++input, weights += kPanelOutputs) {
    FloatVec weight[kStripVectors];
    for (int v = 0; v < kStripVectors; ++v) weight[v] = hn::Load(d, weights + v * kLanes);
    for (int row = 0; row < kRows; ++row) {
      const FloatVec x = hn::Set(d, block.source[row * block.source_stride + input]);
      for (int v = 0; v < kStripVectors; ++v) sum[row][v] = hn::MulAdd(x, weight[v], sum[row][v]);
    }
  }
  for (int row = 0; row < kRows; ++row)
    for (int v = 0; v < kStripVectors; ++v)
      hn::Store(sum[row][v], d, sums + row * kPanelOutputs + v * kLanes);
}

template <int kRows>
void multiply_block(const Block& block) {
  for (int64_t strip = 0; strip < kPanelOutputs; strip += kStrip)
    multiply_strip<kRows>(block, strip);
}

constexpr void (*kMultiplyBlock[])(const Block&) = {
    nullptr,           multiply_block<1>, multiply_block<2>, multiply_block<3>,
    multiply_block<4>, multiply_block<5>, multiply_block<6>};

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

// A step is what stays in the nearest cache, in fp32, while the rows go by.
constexpr int64_t kStepInputs = 64;

template <typename T>
constexpr int64_t kStepTiles = kStepInputs* int64_t{sizeof(T)} / 64;

// Weights and source of a step in fp32: as they rest, or widened into `wide`.
HWY_INLINE const float* step_weights(const float* tiles, int64_t, float*) { return tiles; }
template <typename T>
const float* step_weights(const T* tiles, int64_t inputs, float* wide) {
  for (int64_t pair = 0; pair < inputs / 2; ++pair) {
    const T* pairs = tiles + pair * 2 * kPanelOutputs;
    float* first = wide + pair * 2 * kPanelOutputs;
    for (int64_t output = 0; output < kPanelOutputs; output += kLanes)
      widen_pairs(pairs + 2 * output, first + output, first + kPanelOutputs + output);
  }
  return wide;
}

HWY_INLINE const float* step_source(const float* source, int64_t, int64_t, int64_t, float*) {
  return source;
}
template <typename T>
const float* step_source(const T* source, int64_t stride, int64_t rows, int64_t inputs,
                         float* wide) {
  for (int64_t row = 0; row < rows; ++row)
    convert_row(source + row * stride, wide + row * kStepInputs, inputs);
  return wide;
}

template <typename T>
void multiply(const PanelProduct& p) {
  alignas(64) float wide_weights[kStepInputs * kPanelOutputs];
  alignas(64) float wide_source[kBlockRows * kStepInputs];
  const auto* tiles = reinterpret_cast<const T*>(p.tiles);
  const auto* source = reinterpret_cast<const T*>(p.source);
  const int64_t stride = p.source_row_bytes / int64_t{sizeof(T)};
  const int64_t block_rows = even_block(p.rows, kBlockRows);
  for (int64_t tile = 0; tile < p.num_tiles; tile += kStepTiles<T>) {
    const int64_t step_tiles = std::min(kStepTiles<T>, p.num_tiles - tile);
    const int64_t inputs = step_tiles * 64 / int64_t{sizeof(T)};
    const float* weights = step_weights(tiles, inputs, wide_weights);
    for (int64_t row = 0; row < p.rows; row += block_rows) {
      const int64_t rows = std::min(block_rows, p.rows - row);
      NextTiles next(p, tile, row / block_rows, ceil_div(p.rows, block_rows));
      for (int64_t i = 0; i < step_tiles; ++i) next.fetch_tile();
      kMultiplyBlock[rows](
          {.source = step_source(source + row * stride, stride, rows, inputs, wide_source),
           .source_stride = std::is_same_v<T, float> ? stride : kStepInputs,
           .weights = weights,
           .inputs = inputs,
           .sums = p.sums + row * kPanelOutputs,
           .keep_sums = p.keep_sums || tile > 0});
    }
    tiles += inputs * kPanelOutputs;
    source += inputs;
  }
}

PanelKernel kernel_of(DType dtype) {
  if (dtype == DType::kF16) return multiply<Fp16>;
  if (dtype == DType::kBF16) return multiply<Bf16>;
  return multiply<float>;
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
