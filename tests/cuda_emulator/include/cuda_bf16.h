// bfloat16 on the host: conversions only, as kernels compute in fp32.
#pragma once

#include <cstdint>

#include "base/dtype.h"

struct __nv_bfloat16 {
  uint16_t bits;
};

inline float __bfloat162float(__nv_bfloat16 value) { return zerostream::bf16_to_float(value.bits); }
inline __nv_bfloat16 __float2bfloat16_rn(float value) { return {zerostream::float_to_bf16(value)}; }
