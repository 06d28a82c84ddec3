// Rows of fp32 into the bytes of a store.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/tensor.h"

namespace zerostream {

// Rounds `count` numbers to nearest even in kF32, kF16 or kBF16. Returns false when a finite number
// became infinite. Vectorised; `target` is 4-byte aligned.
bool convert_floats(const float* source, int64_t count, DType dtype, std::byte* target);

// Packs one panel of kTile64: `rows` (at most 64) outputs of `inputs` numbers each, row after row
// without gaps, become ceil(inputs / tile_inputs) tiles at `target`; the rest of the tiles is zero.
// `scratch` holds panel_scratch_bytes(). Returns false when a finite number became infinite.
bool pack_panel(const float* source, int64_t rows, int64_t inputs, DType dtype, std::byte* scratch,
                std::byte* target);
int64_t panel_scratch_bytes(int64_t inputs, DType dtype);

}  // namespace zerostream
