// Panel kernel on AVX-512 dot products of four bytes. Only the functions marked ZS_VNNI may run
// these instructions; nothing else in this file is compiled for them.
#include <immintrin.h>

#include <algorithm>

#include "base/tensor.h"
#include "cpu/gemm_groups_avx512.h"
#include "cpu/gemm_kernel.h"

#define ZS_VNNI [[gnu::target("avx512f,avx512vnni")]]

namespace zerostream {
namespace {

constexpr int64_t kBlockRows = 6;
constexpr int kVectors = 4;  // of 16 outputs
constexpr int64_t kQuadBytes = 4;
constexpr int64_t kTileQuads = 16;
constexpr int64_t kQuadRowBytes = kPanelOutputs * kQuadBytes;
constexpr int64_t kStepTiles = 4;  // whole groups that stay in the nearest cache

template <int kRows>
using Sums = __m512i[kRows][kVectors];

// Adds the sums of a group to the panel's.
template <int kRows>
ZS_VNNI inline void add_group(const PanelProduct& p, int64_t row_begin, int64_t group,
                              const Sums<kRows>& sum) {
  const bool keep_sums = p.keep_sums || group > 0;
  for (int v = 0; v < kVectors; ++v) {
    const GroupVectors vectors = GroupVectors::load(p.groups, group, v * 16);
    for (int row = 0; row < kRows; ++row) {
      float* sums = p.sums + (row_begin + row) * kPanelOutputs + v * 16;
      const float x = p.groups.source_sums[(row_begin + row) * p.groups.source_sums_stride + group];
      const __m512 old = keep_sums ? _mm512_load_ps(sums) : _mm512_setzero_ps();
      _mm512_store_ps(sums, vectors.add(old, sum[row][v], _mm512_set1_ps(x)));
    }
  }
}

template <int kRows>
ZS_VNNI inline void multiply_group(const PanelProduct& p, int64_t row_begin, int64_t group) {
  Sums<kRows> sum;
  for (int row = 0; row < kRows; ++row)
    for (int v = 0; v < kVectors; ++v) sum[row][v] = _mm512_setzero_si512();
  const int64_t group_quads = p.groups.size / 4;
  const int64_t begin = group * group_quads;
  const int64_t quads = std::min(group_quads, p.num_tiles * kTileQuads - begin);
  const std::byte* weights = p.tiles + begin * kQuadRowBytes;
  const std::byte* source = p.source + row_begin * p.source_row_bytes + begin * kQuadBytes;
  for (int64_t quad = 0; quad < quads; ++quad) {
    __m512i weight[kVectors];
    for (int v = 0; v < kVectors; ++v) weight[v] = _mm512_load_si512(weights + v * 64);
    for (int row = 0; row < kRows; ++row) {
      int32_t x;
      __builtin_memcpy(&x, source + row * p.source_row_bytes, sizeof(x));
      for (int v = 0; v < kVectors; ++v)
        sum[row][v] = _mm512_dpbusd_epi32(sum[row][v], weight[v], _mm512_set1_epi32(x));
    }
    source += kQuadBytes;
    weights += kQuadRowBytes;
  }
  add_group<kRows>(p, row_begin, group, sum);
}

template <int kRows>
ZS_VNNI void multiply_rows(const PanelProduct& p, int64_t row_begin, int64_t tile) {
  const int64_t block_rows = even_block(p.rows, kBlockRows);
  const int64_t tile_end = std::min(tile + kStepTiles, p.num_tiles);
  const int64_t group_end = std::min(p.groups.count, ceil_div(tile_end * 64, p.groups.size));
  NextTiles next(p, tile, row_begin / block_rows, ceil_div(p.rows, block_rows));
  for (int64_t group = tile * 64 / p.groups.size; group < group_end; ++group) {
    for (; tile * 64 < (group + 1) * p.groups.size; ++tile) next.fetch_tile();
    multiply_group<kRows>(p, row_begin, group);
  }
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

PanelKernel vnni_panel_kernel() { return multiply; }

}  // namespace zerostream
