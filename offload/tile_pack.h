// Rows of fp32 into the bytes of a store.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/tensor.h"

namespace zerostream {

// Rounds `count` numbers to nearest even in kF32, kF16 or kBF16. Returns false when a finite number
// became infinite. Vectorised; `target` is 4-byte aligned.
bool convert_floats(const float* source, int64_t count, DType dtype, std::byte* target);

// Packs one panel of kTile64: `rows` (at most 64) outputs of weight.inputs numbers each, row after
// row without gaps, become weight.panel_bytes() at `target`: tiles, behind them the group table of
// a quantised weight, all padding included. Of `weight` inputs, dtype, group_size and has_zeros
// count. `scratch` holds panel_scratch_bytes(), 4-byte aligned. Returns false when a number does
// not fit: a finite one became infinite, or a group cannot be quantised (quantise.h).
bool pack_panel(const float* source, int64_t rows, const PackedWeight& weight, std::byte* scratch,
                std::byte* target);
int64_t panel_scratch_bytes(const PackedWeight& weight);

}  // namespace zerostream
