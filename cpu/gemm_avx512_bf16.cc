// Panel kernel with dot products of bf16 pairs. Only the functions marked ZS_AVX512_BF16 may run
// these instructions; nothing else in this file is compiled for them.
#include <immintrin.h>

#include <algorithm>

#include "base/tensor.h"
#include "cpu/gemm_kernel.h"

#define ZS_AVX512_BF16 [[gnu::target("avx512f,avx512bf16")]]

namespace zerostream {
namespace {

constexpr int64_t kBlockRows = 6;
constexpr int kVectors = 4;  // of 16 outputs
constexpr int64_t kPairBytes = 4;
constexpr int64_t kPairsPerTile = 16;
constexpr int64_t kTileRowBytes = 64;
constexpr int64_t kStepTiles = 4;  // stay in the nearest cache while the rows go by
constexpr int64_t kPairRowBytes = kPanelOutputs * kPairBytes;

template <int kRows>
ZS_AVX512_BF16 void multiply_rows(const PanelProduct& p, int64_t row_begin, int64_t tile) {
  const std::byte* source = p.source + row_begin * p.source_row_bytes + tile * kTileRowBytes;
  const int64_t block_rows = even_block(p.rows, kBlockRows);
  const bool keep_sums = p.keep_sums || tile > 0;
  float* sums = p.sums + row_begin * kPanelOutputs;
  __m512 sum[kRows][kVectors];
  for (int row = 0; row < kRows; ++row)
    for (int v = 0; v < kVectors; ++v)
      sum[row][v] =
          keep_sums ? _mm512_load_ps(sums + row * kPanelOutputs + v * 16) : _mm512_setzero_ps();
  const std::byte* weights = p.tiles + tile * kTileBytes;
  const int64_t tile_end = std::min(tile + kStepTiles, p.num_tiles);
  NextTiles next(p, tile, row_begin / block_rows, ceil_div(p.rows, block_rows));
  for (; tile < tile_end; ++tile) {
    next.fetch_tile();
    for (int64_t pair = 0; pair < kPairsPerTile; ++pair) {
      __m512i weight[kVectors];
      for (int v = 0; v < kVectors; ++v) weight[v] = _mm512_load_si512(weights + v * 64);
      for (int row = 0; row < kRows; ++row) {
        int32_t x;
        __builtin_memcpy(&x, source + row * p.source_row_bytes, sizeof(x));
        for (int v = 0; v < kVectors; ++v)
          sum[row][v] =
              _mm512_dpbf16_ps(sum[row][v], (__m512bh)_mm512_set1_epi32(x), (__m512bh)weight[v]);
      }
      source += kPairBytes;
      weights += kPairRowBytes;
    }
  }
  for (int row = 0; row < kRows; ++row)
    for (int v = 0; v < kVectors; ++v)
      _mm512_store_ps(sums + row * kPanelOutputs + v * 16, sum[row][v]);
}

constexpr void (*kMultiply[])(const PanelProduct&, int64_t, int64_t) = {
    nullptr,          multiply_rows<1>, multiply_rows<2>, multiply_rows<3>,
    multiply_rows<4>, multiply_rows<5>, multiply_rows<6>};

void multiply(const PanelProduct& p) {
  const int64_t block_rows = even_block(p.rows, kBlockRows);
  for (int64_t tile = 0; tile < p.num_tiles; tile += kStepTiles)
    for (int64_t row = 0; row < p.rows; row += block_rows)
      kMultiply[std::min(block_rows, p.rows - row)](p, row, tile);
}

}  // namespace

PanelKernel avx512_bf16_panel_kernel() { return multiply; }

}  // namespace zerostream
