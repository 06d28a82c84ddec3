// Panel kernel in integers without instructions for them: bytes are widened to 16 bits, multiplied
// and added in pairs.
#include <algorithm>

#include "base/tensor.h"
#include "cpu/gemm_kernel.h"
#include "cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/gemm_int8_simd.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "cpu/simd-inl.h"

#if ZS_VECTOR_TARGET
HWY_BEFORE_NAMESPACE();
namespace zerostream {
namespace HWY_NAMESPACE {
namespace {

using Integers = hn::RebindToSigned<Floats>;
using Shorts = hn::Repartition<int16_t, Floats>;
using IntegerVec = hn::Vec<Integers>;

// Rows and vectors of outputs whose sums stay in registers.
constexpr int64_t kBlockRows = 4;
constexpr int kStripVectors = HWY_TARGET == HWY_AVX3 ? 4 : 2;
constexpr int64_t kStrip = kStripVectors * kLanes;
constexpr int64_t kQuadRowBytes = 4 * kPanelOutputs;
constexpr int64_t kTileQuadRows = 16;

// Rows [row, row + kRows) and outputs [output, output + kStrip) of one group.
struct Block {
  int64_t row;
  int64_t output;
  int64_t group;
};

template <int kRows>
HWY_INLINE void sum_integers(const PanelProduct& p, const Block& block,
                             IntegerVec (&sum)[kRows][kStripVectors]) {
  const Shorts d16;
  const Integers d32;
  const auto low_bytes = hn::Set(d16, 0xff);
  const int64_t begin = block.group * p.groups.size / 4;
  const int64_t end = std::min(begin + p.groups.size / 4, p.num_tiles * kTileQuadRows);
  for (int64_t quad = begin; quad < end; ++quad) {
    const auto* words = reinterpret_cast<const int32_t*>(p.tiles + quad * kQuadRowBytes);
    hn::Vec<Shorts> even[kStripVectors], odd[kStripVectors];
    for (int v = 0; v < kStripVectors; ++v) {
      const auto bytes = hn::BitCast(d16, hn::Load(d32, words + block.output + v * kLanes));
      even[v] = hn::And(bytes, low_bytes);
      odd[v] =
          hn::BitCast(d16, hn::ShiftRight<8>(hn::BitCast(hn::RebindToUnsigned<Shorts>(), bytes)));
    }
    for (int row = 0; row < kRows; ++row) {
      int32_t inputs;
      std::memcpy(&inputs, p.source + (block.row + row) * p.source_row_bytes + quad * 4,
                  sizeof(inputs));
      const auto x = hn::BitCast(d16, hn::Set(d32, inputs));
      const auto even_x = hn::ShiftRight<8>(hn::ShiftLeft<8>(x)), odd_x = hn::ShiftRight<8>(x);
      auto unused = hn::Zero(d32);
      for (int v = 0; v < kStripVectors; ++v) {
        sum[row][v] = hn::ReorderWidenMulAccumulate(d32, even[v], even_x, sum[row][v], unused);
        sum[row][v] = hn::ReorderWidenMulAccumulate(d32, odd[v], odd_x, sum[row][v], unused);
      }
    }
  }
}

HWY_INLINE FloatVec zeros_of(const IntegerGroups& groups, const std::byte* entry, int64_t output) {
  const Floats d;
  if (!groups.has_zeros) return hn::Set(d, groups.zero);
  const hn::Rebind<uint8_t, Floats> d8;
  const auto* zeros = reinterpret_cast<const uint8_t*>(entry + 2 * kPanelOutputs);
  return hn::ConvertTo(d, hn::PromoteTo(Integers(), hn::LoadU(d8, zeros + output)));
}

template <int kRows>
void multiply_block(const PanelProduct& p, const Block& block) {
  const Floats d;
  IntegerVec sum[kRows][kStripVectors];
  for (auto& row : sum)
    for (auto& vector : row) vector = hn::Zero(Integers());
  sum_integers<kRows>(p, block, sum);
  const IntegerGroups& groups = p.groups;
  const std::byte* entry = groups.table + block.group * groups.bytes;
  for (int v = 0; v < kStripVectors; ++v) {
    const int64_t output = block.output + v * kLanes;
    const FloatVec scale = load(d, reinterpret_cast<const Fp16*>(entry) + output);
    const FloatVec zero = zeros_of(groups, entry, output);
    for (int row = 0; row < kRows; ++row) {
      float* sums = p.sums + (block.row + row) * kPanelOutputs + output;
      const float x =
          groups.source_sums[(block.row + row) * groups.source_sums_stride + block.group];
      const FloatVec old = p.keep_sums || block.group > 0 ? hn::Load(d, sums) : hn::Zero(d);
      const FloatVec exact = hn::NegMulAdd(zero, hn::Set(d, x), hn::ConvertTo(d, sum[row][v]));
      hn::Store(hn::MulAdd(scale, exact, old), d, sums);
    }
  }
}

constexpr void (*kMultiplyBlock[])(const PanelProduct&, const Block&) = {
    nullptr, multiply_block<1>, multiply_block<2>, multiply_block<3>, multiply_block<4>};

void multiply(const PanelProduct& p) {
  const int64_t block_rows = even_block(p.rows, kBlockRows);
  NextTiles next(p, 0, 0, 1);
  for (int64_t group = 0; group < p.groups.count; ++group) {
    for (int64_t row = 0; row < p.rows; row += block_rows)
      for (int64_t output = 0; output < kPanelOutputs; output += kStrip)
        kMultiplyBlock[std::min(block_rows, p.rows - row)](p, {row, output, group});
    if (group * p.groups.size % 64 == 0)
      for (int64_t inputs = 0; inputs < p.groups.size; inputs += 64) next.fetch_tile();
  }
}

constexpr PanelKernel kMultiply = multiply;

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace zerostream
HWY_AFTER_NAMESPACE();
#endif  // ZS_VECTOR_TARGET

#if HWY_ONCE
namespace zerostream {

PanelKernel simd_int8_panel_kernel(CpuIsa isa) {
  return isa >= CpuIsa::kAvx512 ? N_AVX3::kMultiply : N_AVX2::kMultiply;
}

}  // namespace zerostream
#endif  // HWY_ONCE
