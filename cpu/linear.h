// Matrix multiplication with fused epilogue on the CPU.
#pragma once

#include "base/kernels.h"
#include "cpu/cpu_stream.h"

namespace zerostream {

// What cpu_linear needs of CpuStreamOptions::scratch_bytes.
inline constexpr int64_t kLinearScratchBytes = int64_t{2} << 20;
// And of CpuStreamOptions::shared_scratch_bytes, for int8 activations: a call takes as many rows at
// once as fit, 560 of 28,672 inputs.
inline constexpr int64_t kLinearSharedScratchBytes = int64_t{16} << 20;

// Enqueues one Kernels::linear; takes both weight layouts. The work is shared by the stream's
// workers, with the stream's instruction set. Throws InternalError at the call for arguments that
// do not fit together.
void cpu_linear(const LinearArgs& args, CpuStream& stream);

}  // namespace zerostream
