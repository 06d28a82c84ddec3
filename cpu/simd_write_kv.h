// Vectorised split, norm, rotation and KV write of fused rows.
#pragma once

#include "base/kernels.h"
#include "cpu/cpu_isa.h"

namespace zerostream {

// Computes rows [begin, end) of one sequence (0: its first in the call) on the calling thread.
// `head` is scratch of kv.head_dim floats.
using WriteKvOp = void (*)(const WriteKvArgs& args, const SequenceSpan& sequence, int64_t begin,
                           int64_t end, float* head);

WriteKvOp write_kv_op(CpuIsa isa);

}  // namespace zerostream
