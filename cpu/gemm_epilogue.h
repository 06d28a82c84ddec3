// What becomes of the sums of a matrix multiplication.
#pragma once

#include <cstdint>

#include "base/kernels.h"
#include "cpu/cpu_isa.h"

namespace zerostream {

// The sums of `rows` rows from `row_begin` on, for up to 64 columns of the target from `col_begin`
// on: fp32 [rows][64], 64-byte aligned. For Epilogue::kGated `gate` holds the gate outputs and `up`
// the up outputs; otherwise `up` is null. row_scales: a factor for the sums of each row, or null.
struct PanelSums {
  int64_t row_begin = 0;
  int64_t rows = 0;
  int64_t col_begin = 0;
  const float* gate = nullptr;
  const float* up = nullptr;
  const float* row_scales = nullptr;
};

// Adds the bias, applies args.epilogue and writes the target. Vectorised activations differ from
// the exact functions by at most 1e-6 of the result or, where that is less than 1, of 1.
using FinishPanel = void (*)(const LinearArgs& args, const PanelSums& sums);
FinishPanel finish_panel(CpuIsa isa);

}  // namespace zerostream
