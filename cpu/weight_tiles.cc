#include "cpu/weight_tiles.h"

#include <algorithm>
#include <cstring>

namespace zerostream {

WeightTiles::WeightTiles(const PackedWeight& weight, DType dtype, CpuIsa isa)
    : weight_(weight),
      dtype_(dtype),
      tiles_per_resting_(tile_inputs(weight.dtype) / tile_inputs(dtype)),
      count_(weight.tiles_bytes() / kTileBytes * tiles_per_resting_) {
  if (weight.group_size != 0) run_multiple_ = kQuantisedSpan / tile_inputs(dtype);
  if (weight.layout == WeightLayout::kRows) make_ = &WeightTiles::make_from_rows;
  if (dtype == weight.dtype) return;
  make_ = &WeightTiles::make_from_quantised;
  dequantise_ = dequantise(weight.dtype, dtype, isa);
}

const std::byte* WeightTiles::resting(int64_t panel, int64_t tile) const {
  return weight_.data + panel * weight_.panel_bytes() + tile * resting_bytes();
}

const std::byte* WeightTiles::tiles(int64_t panel, int64_t tile, int64_t count,
                                    std::byte* scratch) const {
  if (make_ == nullptr) return resting(panel, tile);
  (this->*make_)(panel, tile, count, scratch);
  return scratch;
}

IntegerGroups WeightTiles::groups(int64_t panel, int64_t tile, int64_t count) const {
  const int64_t group = group_of(tile);
  const int64_t in_run = ceil_div(count * tile_inputs(dtype_), weight_.group_size);
  return {.table = table(panel, group),
          .bytes = weight_.group_bytes(),
          .count = std::min(in_run, weight_.groups() - group),
          .size = weight_.group_size,
          .has_zeros = weight_.has_zeros,
          .zero = static_cast<float>(1 << (dtype_bits(weight_.dtype) - 1))};
}

const std::byte* WeightTiles::table(int64_t panel, int64_t group) const {
  return weight_.data + panel * weight_.panel_bytes() + weight_.tiles_bytes() +
         group * weight_.group_bytes();
}

void WeightTiles::make_from_quantised(int64_t panel, int64_t tile, int64_t count,
                                      std::byte* scratch) const {
  const int64_t group = group_of(tile);
  dequantise_({.tiles = resting(panel, tile),
               .num_tiles = count / tiles_per_resting_,
               .table = table(panel, group),
               .group_bytes = weight_.group_bytes(),
               .groups = weight_.groups() - group,
               .group_size = weight_.group_size,
               .has_zeros = weight_.has_zeros,
               .target = scratch});
}

void WeightTiles::make_from_rows(int64_t panel, int64_t tile, int64_t count,
                                 std::byte* scratch) const {
  const int64_t group_inputs = 4 / dtype_bytes(dtype_);
  const int64_t group_bytes = kPanelOutputs * 4;
  const int64_t first_input = tile * tile_inputs(dtype_);
  const int64_t inputs = std::min(count * tile_inputs(dtype_), weight_.inputs - first_input);
  const int64_t outputs = std::min(kPanelOutputs, weight_.outputs - panel * kPanelOutputs);
  std::memset(scratch, 0, static_cast<size_t>(count * kTileBytes));
  for (int64_t output = 0; output < outputs; ++output) {
    const int64_t row = panel * kPanelOutputs + output;
    const std::byte* source =
        weight_.data + dtype_bytes(dtype_, row * weight_.inputs + first_input);
    for (int64_t input = 0; input < inputs; input += group_inputs) {
      const int64_t valid = std::min(group_inputs, inputs - input);
      std::memcpy(scratch + input / group_inputs * group_bytes + output * 4,
                  source + dtype_bytes(dtype_, input),
                  static_cast<size_t>(dtype_bytes(dtype_, valid)));
    }
  }
}

}  // namespace zerostream
