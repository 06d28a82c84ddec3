// Rows of fp32 into groups of small integers.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace zerostream {

// The inputs of a row are padded to a multiple of this before they are quantised: of every group
// size, and of what a tile spans.
inline constexpr int64_t kQuantisedRowInputs = 128;

struct Quantisation {
  DType dtype = DType::kI8;  // kI8 or kI4
  int32_t group_size = 64;   // 32, 64 or 128
  bool has_zeros = false;
};

// The zero of a matrix without zeros: 128 or 8.
constexpr uint8_t quantised_zero(DType dtype) { return dtype == DType::kI8 ? 128 : 8; }

// One group, as PackedWeight has it: number = scale * (code - zero).
struct GroupScale {
  uint16_t scale = 0;  // fp16; negative in some groups of int4
  uint8_t zero = 0;
};

// Quantises group_size numbers into a code each (kI4: 0..15, not yet packed). Every code is the
// nearest to its number for the scale as rounded to fp16, so that the error is at most half a step.
//   has_zeros:         from the least to the largest number, 0 among them; 0 stays 0.
//   kI8 without zeros: the largest magnitude is 127 steps.
//   kI4 without zeros: the largest magnitude is -7.5, -8.25 or -9 steps, whichever leaves the least
//                      squared error with the scale that fits its codes best. What lies beyond -8
//                      or 7 steps becomes that, so its error may be larger.
// Scales below the least of fp16 become that; groups whose numbers then are nearest to 0 have scale
// 0. Returns false, without a result, when a number is not finite or the scale is too large for
// fp16.
//
// The result depends on the numbers alone, not on the machine.
bool quantise_group(const float* numbers, const Quantisation& quantisation, uint8_t* codes,
                    GroupScale& group);

}  // namespace zerostream
