// Panel kernel on AMX tiles. A tile of weights is four B operands side by side: 16 rows of one pair
// of inputs for 16 outputs, 256 bytes apart. Only the functions marked ZS_AMX may run these
// instructions; nothing else in this file is compiled for them.
#include <immintrin.h>

#include <algorithm>

#include "base/tensor.h"
#include "cpu/gemm_kernel.h"

#define ZS_AMX [[gnu::target("amx-tile,amx-bf16")]]

namespace zerostream {
namespace {

constexpr int64_t kTileRows = 16;
constexpr int64_t kBlockRows = 2 * kTileRows;
constexpr int64_t kRowBytes = 64;                       // of a register: 32 bf16 or 16 fp32
constexpr int64_t kWeightRowBytes = kPanelOutputs * 4;  // pairs of all outputs
constexpr int64_t kSumRowBytes = kPanelOutputs * 4;

// The operand of LDTILECFG.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

TileConfig make_config(const uint8_t (&rows)[8]) {
  TileConfig config;
  for (int i = 0; i < 8; ++i) {
    config.row_bytes[i] = kRowBytes;
    config.rows[i] = rows[i];
  }
  return config;
}

// The intrinsic tells the compiler that it reads the first bytes only.
ZS_AMX inline void load_config(const TileConfig& config) {
  __asm__ volatile("" : : "r"(&config) : "memory");
  _tile_loadconfig(&config);
}

// Up to 16 rows times 64 outputs: sums in 0-3, source in 4, weights in 5-7.
ZS_AMX void multiply_16(const PanelProduct& p, int64_t row_begin, int64_t rows) {
  const auto r = static_cast<uint8_t>(rows);
  const TileConfig config = make_config({r, r, r, r, r, 16, 16, 16});
  load_config(config);
  const std::byte* source = p.source + row_begin * p.source_row_bytes;
  float* sums = p.sums + row_begin * kPanelOutputs;
  if (p.keep_sums) {
    _tile_loadd(0, sums, kSumRowBytes);
    _tile_loadd(1, sums + 16, kSumRowBytes);
    _tile_loadd(2, sums + 32, kSumRowBytes);
    _tile_loadd(3, sums + 48, kSumRowBytes);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  const std::byte* weights = p.tiles;
  NextTiles next(p, 0, row_begin / kBlockRows, ceil_div(p.rows, kBlockRows));
  for (int64_t tile = 0; tile < p.num_tiles; ++tile) {
    _tile_loadd(4, source, p.source_row_bytes);
    _tile_loadd(5, weights, kWeightRowBytes);
    _tile_dpbf16ps(0, 4, 5);
    _tile_loadd(6, weights + 64, kWeightRowBytes);
    _tile_dpbf16ps(1, 4, 6);
    _tile_loadd(7, weights + 128, kWeightRowBytes);
    _tile_dpbf16ps(2, 4, 7);
    _tile_loadd(5, weights + 192, kWeightRowBytes);
    _tile_dpbf16ps(3, 4, 5);
    next.fetch_tile();
    source += kRowBytes;
    weights += kTileBytes;
  }
  _tile_stored(0, sums, kSumRowBytes);
  _tile_stored(1, sums + 16, kSumRowBytes);
  _tile_stored(2, sums + 32, kSumRowBytes);
  _tile_stored(3, sums + 48, kSumRowBytes);
}

// 32 outputs (0 or 32 on) of 17 to 32 rows: sums in 0-3, source in 4 and 5, weights in 6 and 7.
ZS_AMX void multiply_32x32(const PanelProduct& p, int64_t row_begin, int64_t output) {
  const std::byte* upper = p.source + row_begin * p.source_row_bytes;
  const std::byte* lower = upper + kTileRows * p.source_row_bytes;
  float* upper_sums = p.sums + row_begin * kPanelOutputs + output;
  float* lower_sums = upper_sums + kTileRows * kPanelOutputs;
  if (p.keep_sums) {
    _tile_loadd(0, upper_sums, kSumRowBytes);
    _tile_loadd(1, upper_sums + 16, kSumRowBytes);
    _tile_loadd(2, lower_sums, kSumRowBytes);
    _tile_loadd(3, lower_sums + 16, kSumRowBytes);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  const std::byte* weights = p.tiles + output * 4;
  NextTiles next(p, 0, 2 * (row_begin / kBlockRows) + output / 32,
                 2 * ceil_div(p.rows, kBlockRows));
  for (int64_t tile = 0; tile < p.num_tiles; ++tile) {
    _tile_loadd(6, weights, kWeightRowBytes);
    _tile_loadd(4, upper, p.source_row_bytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, weights + 64, kWeightRowBytes);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, lower, p.source_row_bytes);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
    next.fetch_tile();
    upper += kRowBytes;
    lower += kRowBytes;
    weights += kTileBytes;
  }
  _tile_stored(0, upper_sums, kSumRowBytes);
  _tile_stored(1, upper_sums + 16, kSumRowBytes);
  _tile_stored(2, lower_sums, kSumRowBytes);
  _tile_stored(3, lower_sums + 16, kSumRowBytes);
}

ZS_AMX void multiply_pairs(const PanelProduct& p, int64_t row_begin, int64_t row_end) {
  if (row_begin == row_end) return;
  const auto lower = static_cast<uint8_t>(std::min(kBlockRows, row_end - row_begin) - kTileRows);
  const TileConfig config = make_config({16, 16, lower, lower, 16, lower, 16, 16});
  load_config(config);
  for (int64_t output = 0; output < kPanelOutputs; output += 32)
    for (int64_t row = row_begin; row < row_end; row += kBlockRows) multiply_32x32(p, row, output);
}

ZS_AMX void multiply(const PanelProduct& p) {
  const int64_t whole = p.rows / kBlockRows * kBlockRows;
  multiply_pairs(p, 0, whole);
  if (p.rows - whole > kTileRows)
    multiply_pairs(p, whole, p.rows);
  else if (p.rows > whole)
    multiply_16(p, whole, p.rows - whole);
  _tile_release();
}

}  // namespace

PanelKernel amx_panel_kernel() { return multiply; }

}  // namespace zerostream
