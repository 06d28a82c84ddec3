// Attention shared out over the workers of a stream.
#pragma once

#include "base/kernels.h"
#include "cpu/cpu_stream.h"

namespace zerostream {

// Enqueues one Kernels::attention, whose arguments have been checked. Throws InternalError at the
// call if a worker's scratch is too small for the heads.
void cpu_attention(const AttentionArgs& args, CpuStream& stream);

}  // namespace zerostream
