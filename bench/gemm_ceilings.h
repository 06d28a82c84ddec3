// What a processor could do at best, measured: arithmetic in registers, reads from memory.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "base/tensor.h"
#include "cpu/cpu_isa.h"
#include "cpu/worker_pool.h"

namespace zerostream {

// GFLOP/s of all workers multiplying and adding in registers alone, with the instructions that a
// matrix multiplication of this type uses on this instruction set (kI8: in integers, from
// kAvx512Bf16 on). Takes about 10 ms.
double register_gflops(DType dtype, CpuIsa isa, WorkerPool& pool);

// GB/s of all workers reading one run of memory each.
double read_gigabytes(const std::byte* data, int64_t bytes, WorkerPool& pool);

// GB/s of a quantised weight, as it rests, that all workers turn into tiles of `dtype` from cache
// to cache. Takes about 10 ms.
double dequantise_gigabytes(const PackedWeight& weight, DType dtype, CpuIsa isa, WorkerPool& pool);

double seconds_now();

}  // namespace zerostream
