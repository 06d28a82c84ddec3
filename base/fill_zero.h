// Zeros in memory of any device.
#pragma once

#include "base/buffer.h"
#include "base/device.h"

namespace zerostream {

// Returns when all of it is zero. Allocates a little pinned memory for as long as it takes: for the
// start, not for a pass.
void fill_zero(Device& device, const Buffer& memory);

}  // namespace zerostream
