// What a processor could do at best, measured: arithmetic in registers, reads from memory.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "cpu/cpu_isa.h"
#include "cpu/worker_pool.h"

namespace zerostream {

// GFLOP/s of all workers multiplying and adding in registers alone, with the instructions that a
// matrix multiplication of this type uses on this instruction set. Takes about 10 ms.
double register_gflops(DType dtype, CpuIsa isa, WorkerPool& pool);

// GB/s of all workers reading one run of memory each.
double read_gigabytes(const std::byte* data, int64_t bytes, WorkerPool& pool);

double seconds_now();

}  // namespace zerostream
