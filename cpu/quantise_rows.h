// Activations as bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/tensor.h"
#include "cpu/cpu_isa.h"

namespace zerostream {

// Rows of integers i in -127..127 with x = step * i, see LinearArgs::int8_activations.
struct QuantisedRows {
  std::byte* data = nullptr;    // int8 [rows][row_bytes]
  int64_t row_bytes = 0;        // inputs, rounded up to whole 128; zeros behind the inputs
  float* steps = nullptr;       // of each row
  float* group_sums = nullptr;  // [rows][groups]: sums of integers over group_size inputs
  int64_t groups = 0;
  int32_t group_size = 0;
};

// Rows [begin, end) of a source of kF32, kF16 or kBF16 that is zero-filled up to whole 128 inputs.
// The step of a row that holds a NaN is NaN. The results have the same bits on every instruction
// set.
using QuantiseRows = void (*)(const TensorView& source, int64_t begin, int64_t end,
                              const QuantisedRows& target);
QuantiseRows quantise_rows(CpuIsa isa);

// How a row becomes integers: i = round(x * inverse), halfway cases to even.
struct RowStep {
  float step = 0;
  float inverse = 0;
};
// Rows of less than 1e-30 become zeros.
inline RowStep row_step(float largest_magnitude) {
  return {largest_magnitude / 127, largest_magnitude >= 1e-30f ? 127 / largest_magnitude : 0};
}

}  // namespace zerostream
