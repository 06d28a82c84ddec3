// Quantised tiles turned into tiles that a panel kernel multiplies.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"
#include "cpu/cpu_isa.h"

namespace zerostream {

// A run of this many inputs, from a multiple of it on, is whole tiles and whole groups whatever the
// type and the group size of a quantised weight.
inline constexpr int64_t kQuantisedSpan = 128;

// Consecutive tiles of one panel, from a multiple of kQuantisedSpan inputs on.
struct QuantisedRun {
  const std::byte* tiles = nullptr;
  int64_t num_tiles = 0;
  const std::byte* table = nullptr;  // the group table from the group of the first input on
  int64_t group_bytes = 0;           // of one group in the table
  int64_t groups = 0;                // in the table from there on; inputs beyond become 0
  int32_t group_size = 0;
  bool has_zeros = false;
  std::byte* target = nullptr;  // the same inputs in tiles of the target's type
};

// Fetches memory a little beyond the run into the cache on the way.
using Dequantise = void (*)(const QuantisedRun& run);

// From kI8 or kI4 to kF32, kF16 or kBF16: scale * (q - zero), rounded to the nearest number of the
// target's type; halfway cases go away from zero in bf16, to even in fp16. From kI4 to kI8: q as it
// is, one to a byte; groups play no part.
Dequantise dequantise(DType weight, DType target, CpuIsa isa);

}  // namespace zerostream
