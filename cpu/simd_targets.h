// Which instruction sets the vectorised sources are compiled for: AVX2 and AVX-512. Include before
// any header of Highway. Highway adds its scalar target as baseline; sources leave that one empty.
#pragma once

#include "hwy/detect_targets.h"

#undef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#define ZS_VECTOR_TARGET (HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3)
