// Panel kernel on AMX tiles of bytes. A tile of weights is four B operands side by side: 16 rows of
// four inputs for 16 outputs, 256 bytes apart; groups of 32 inputs take half of the rows. The sums
// of a group leave the registers as integers and are scaled with AVX-512. Only the functions marked
// ZS_AMX may run these instructions; nothing else in this file is compiled for them.
#include <immintrin.h>

#include <algorithm>

#include "base/tensor.h"
#include "cpu/gemm_groups_avx512.h"
#include "cpu/gemm_kernel.h"

#define ZS_AMX [[gnu::target("avx512f,amx-tile,amx-int8")]]

namespace zerostream {
namespace {

constexpr int64_t kTileRows = 16;
constexpr int64_t kBlockRows = 2 * kTileRows;
constexpr int64_t kBlockOutputs = 32;
constexpr int64_t kRowBytes = 64;                     // of a register: 16 int32
constexpr int64_t kQuadRowBytes = 4 * kPanelOutputs;  // four inputs of all outputs
constexpr int64_t kSumRowBytes = 4 * kBlockOutputs;
// With fewer rows, which AVX-512 takes in one block, tiles of the source are mostly empty.
constexpr int64_t kMinRows = 7;

// The operand of LDTILECFG.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

// Up to 32 rows times 32 outputs: sums in 0-3, source in 4 and 5, weights in 6 and 7. The lower
// half has at least a row, of which nothing is used where the block has no more than 16.
struct Block {
  int64_t row;
  int64_t rows;
  int64_t output;

  int64_t upper_rows() const { return std::min(rows, kTileRows); }
  int64_t lower_rows() const { return rows - upper_rows(); }
};

TileConfig make_config(const Block& block, int64_t step_quads) {
  const auto upper = static_cast<uint8_t>(block.upper_rows());
  const auto lower = static_cast<uint8_t>(std::max<int64_t>(1, block.lower_rows()));
  const auto quads = static_cast<uint8_t>(step_quads);
  TileConfig config;
  for (int i = 0; i < 8; ++i) config.row_bytes[i] = kRowBytes;
  config.row_bytes[4] = config.row_bytes[5] = static_cast<uint16_t>(4 * step_quads);
  const uint8_t rows[8] = {upper, upper, lower, lower, upper, lower, quads, quads};
  std::copy_n(rows, 8, config.rows);
  return config;
}

// The intrinsic tells the compiler that it reads the first bytes only.
ZS_AMX inline void load_config(const TileConfig& config) {
  __asm__ volatile("" : : "r"(&config) : "memory");
  _tile_loadconfig(&config);
}

// Adds the sums of a group to the panel's.
ZS_AMX inline void add_group(const PanelProduct& p, const Block& block, int64_t group,
                             const int32_t* inner) {
  const bool keep_sums = p.keep_sums || group > 0;
  const GroupVectors vectors[] = {GroupVectors::load(p.groups, group, block.output),
                                  GroupVectors::load(p.groups, group, block.output + 16)};
  const float* source_sums = p.groups.source_sums + block.row * p.groups.source_sums_stride + group;
  float* sums = p.sums + block.row * kPanelOutputs + block.output;
  for (int64_t row = 0; row < block.rows; ++row) {
    const __m512 x = _mm512_set1_ps(*source_sums);
    for (int v = 0; v < 2; ++v) {
      const __m512 old = keep_sums ? _mm512_load_ps(sums + v * 16) : _mm512_setzero_ps();
      _mm512_store_ps(sums + v * 16, vectors[v].add(old, _mm512_load_si512(inner + v * 16), x));
    }
    source_sums += p.groups.source_sums_stride;
    sums += kPanelOutputs;
    inner += kBlockOutputs;
  }
}

ZS_AMX inline void sum_integers(const PanelProduct& p, const Block& block, int64_t quad,
                                int64_t quad_end, int64_t step_quads, int32_t* inner,
                                NextTiles& next) {
  const std::byte* upper = p.source + block.row * p.source_row_bytes;
  const std::byte* lower = upper + block.upper_rows() * p.source_row_bytes;
  if (block.lower_rows() == 0) lower = upper;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (; quad < quad_end; quad += step_quads) {
    const std::byte* weights = p.tiles + quad * kQuadRowBytes + block.output * 4;
    _tile_loadd(6, weights, kQuadRowBytes);
    _tile_loadd(4, upper + quad * 4, p.source_row_bytes);
    _tile_dpbsud(0, 4, 6);
    _tile_loadd(7, weights + 64, kQuadRowBytes);
    _tile_dpbsud(1, 4, 7);
    _tile_loadd(5, lower + quad * 4, p.source_row_bytes);
    _tile_dpbsud(2, 5, 6);
    _tile_dpbsud(3, 5, 7);
    if (quad % 16 == 0) next.fetch_tile();
  }
  int32_t* lower_inner = inner + kTileRows * kBlockOutputs;
  _tile_stored(0, inner, kSumRowBytes);
  _tile_stored(1, inner + 16, kSumRowBytes);
  _tile_stored(2, lower_inner, kSumRowBytes);
  _tile_stored(3, lower_inner + 16, kSumRowBytes);
}

ZS_AMX void multiply_block(const PanelProduct& p, const Block& block) {
  alignas(64) int32_t inner[kBlockRows * kBlockOutputs];
  const int64_t group_quads = p.groups.size / 4, step_quads = std::min<int64_t>(group_quads, 16);
  NextTiles next(p, 0, 2 * (block.row / kBlockRows) + block.output / kBlockOutputs,
                 2 * ceil_div(p.rows, kBlockRows));
  for (int64_t group = 0; group < p.groups.count; ++group) {
    const int64_t quad = group * group_quads;
    const int64_t quad_end = std::min(quad + group_quads, p.num_tiles * 16);
    sum_integers(p, block, quad, quad_end, step_quads, inner, next);
    add_group(p, block, group, inner);
  }
}

ZS_AMX void multiply_blocks(const PanelProduct& p, int64_t row_begin, int64_t row_end) {
  if (row_begin == row_end) return;
  const int64_t rows = std::min(kBlockRows, row_end - row_begin);
  load_config(make_config({row_begin, rows, 0}, std::min<int64_t>(p.groups.size / 4, 16)));
  for (int64_t output = 0; output < kPanelOutputs; output += kBlockOutputs)
    for (int64_t row = row_begin; row < row_end; row += kBlockRows)
      multiply_block(p, {row, rows, output});
  _tile_release();
}

void multiply(const PanelProduct& p) {
  if (p.rows < kMinRows) return vnni_panel_kernel()(p);
  const int64_t whole = p.rows / kBlockRows * kBlockRows;
  multiply_blocks(p, 0, whole);
  multiply_blocks(p, whole, p.rows);
}

}  // namespace

PanelKernel amx_int8_panel_kernel() { return multiply; }

}  // namespace zerostream
