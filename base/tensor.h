// Views of matrices. They own nothing: the buffers behind them must outlive their use, on every
// stream.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"

namespace zerostream {

constexpr int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}
constexpr int64_t ceil_div(int64_t value, int64_t divisor) {
  return (value + divisor - 1) / divisor;
}

// A matrix [rows, cols] of kF32, kF16 or kBF16; elements of a row are contiguous, rows are
// `row_stride` elements apart.
struct TensorView {
  std::byte* data = nullptr;
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t row_stride = 0;

  std::byte* row(int64_t index) const { return data + dtype_bytes(dtype, index * row_stride); }
  template <typename T>
  T* row_as(int64_t index) const {
    return reinterpret_cast<T*>(row(index));
  }
  TensorView row_range(int64_t begin, int64_t count) const {
    return {row(begin), dtype, count, cols, row_stride};
  }
  TensorView col_range(int64_t begin, int64_t count) const {
    return {data + dtype_bytes(dtype, begin), dtype, rows, count, row_stride};
  }
};

// How the elements of a weight matrix rest in a store and in a slot.
//   kTile64: panels of 64 outputs; a panel is a run of 4 KiB tiles with the inputs ascending; a
//   tile holds 16 groups of
//            inputs × 64 outputs × (inputs of a group), where a group is what fills 4 bytes: 1
//            input in fp32, 2 in fp16 and bf16, 4 in int8. A tile of int4 is two such tiles of int8
//            in one: the low half of byte i is element i of the tile of its first 64 inputs, the
//            high half element i of the tile of its last 64. Outputs and inputs are zero-padded to
//            whole tiles.
//   kRows:   [outputs, inputs] row-major, no padding; never quantised.
enum class WeightLayout : uint8_t { kTile64, kRows };

inline constexpr int64_t kTileBytes = 4096;
inline constexpr int64_t kPanelOutputs = 64;

// Inputs that one tile spans: 16 (fp32), 32 (fp16, bf16), 64 (int8), 128 (int4).
constexpr int64_t tile_inputs(DType dtype) {
  return kTileBytes * 8 / (kPanelOutputs * dtype_bits(dtype));
}

// A weight matrix [outputs, inputs], or a run of its outputs: y = x · Wᵀ. `data` is 64-byte
// aligned, 4 KiB in a store.
//
// kI8 and kI4 are quantised by groups of `group_size` inputs (32, 64 or 128) of one output:
// weight = scale * (q - zero), q and zero unsigned (0..255, 0..15). Without zeros, zero is 128 or
// 8. After the tiles of each panel comes its group table, padded with zeros to whole 4 KiB: for
// each group, ascending, 64 scales in fp16, then, if has_zeros, 64 zeros of a byte each. Padding
// (inputs beyond `inputs`, outputs beyond `outputs`) has q == zero.
struct PackedWeight {
  const std::byte* data = nullptr;
  DType dtype = DType::kF32;
  WeightLayout layout = WeightLayout::kTile64;
  int64_t outputs = 0;
  int64_t inputs = 0;
  int32_t group_size = 0;  // 0: not quantised
  bool has_zeros = false;

  int64_t panels() const { return ceil_div(outputs, kPanelOutputs); }
  int64_t tiles_bytes() const { return ceil_div(inputs, tile_inputs(dtype)) * kTileBytes; }
  int64_t groups() const { return group_size == 0 ? 0 : ceil_div(inputs, group_size); }
  // Bytes of one group in the table.
  int64_t group_bytes() const { return kPanelOutputs * (has_zeros ? 3 : 2); }
  // Bytes of one panel: its tiles and its group table.
  int64_t panel_bytes() const {
    return tiles_bytes() + round_up(groups() * group_bytes(), kTileBytes);
  }
  int64_t bytes() const {
    return layout == WeightLayout::kTile64 ? panels() * panel_bytes()
                                           : dtype_bytes(dtype, outputs * inputs);
  }
};

}  // namespace zerostream
