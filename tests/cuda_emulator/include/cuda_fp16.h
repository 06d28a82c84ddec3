// Half precision on the host: conversions only, as kernels compute in fp32.
#pragma once

#include <cstdint>

#include "base/dtype.h"

struct __half {
  uint16_t bits;
};

inline float __half2float(__half value) { return zerostream::fp16_to_float(value.bits); }
inline __half __float2half_rn(float value) { return {zerostream::float_to_fp16(value)}; }
