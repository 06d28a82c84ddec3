// Rotary position tables.
#pragma once

#include <cstdint>

#include "model/config.h"

namespace zerostream {

// Writes cos and sin of one position's angles, scaled by the attention factor:
// [inverse_frequencies.size()] each. The angle is the fp32 product of position and frequency, as
// the reference implementations round it.
void fill_rope(const RopeConfig& rope, int64_t position, float* cos, float* sin);

}  // namespace zerostream
