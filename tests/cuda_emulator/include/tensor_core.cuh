// gpu/ptx/tensor_core.cuh on the host: the lane that comes last multiplies for its warp.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "tests/cuda_emulator/device_code.h"

namespace zerostream {

inline uint16_t bits_of(float value, __half) { return __float2half_rn(value).bits; }
inline uint16_t bits_of(float value, __nv_bfloat16) { return __float2bfloat16_rn(value).bits; }
inline float number_of(uint16_t bits, __half) { return __half2float({bits}); }
inline float number_of(uint16_t bits, __nv_bfloat16) { return __bfloat162float({bits}); }

template <typename T>
uint32_t pack_pair(float first, float second) {
  return bits_of(first, T{}) | uint32_t{bits_of(second, T{})} << 16;
}

// What a lane hands in, and whether its `d` is done.
struct WarpProduct {
  float* d;
  const uint32_t* a;
  const uint32_t* b;
  bool done;
};

// Out of ThreadSanitizer's sight: what it touches are registers.
template <typename T>
__attribute__((no_sanitize("thread"))) void multiply_of_warp(const cuda_emulator::Lanes& lanes) {
  float a[16][16], b[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    const auto& own = *reinterpret_cast<const WarpProduct*>(lanes.values[lane]);
    const int g = lane / 4, t = lane % 4;
    for (int half = 0; half < 2; ++half)
      for (int later = 0; later < 2; ++later) {
        const int col = 2 * t + 8 * later + half;
        for (int row = 0; row < 2; ++row)
          a[g + 8 * row][col] =
              number_of(static_cast<uint16_t>(own.a[2 * later + row] >> (16 * half)), T{});
        b[col][g] = number_of(static_cast<uint16_t>(own.b[later] >> (16 * half)), T{});
      }
  }
  for (int lane = 0; lane < 32; ++lane) {
    auto& own = *reinterpret_cast<WarpProduct*>(lanes.values[lane]);
    for (int i = 0; i < 4; ++i)
      for (int k = 0; k < 16; ++k)
        own.d[i] += a[lane / 4 + i / 2 * 8][k] * b[k][2 * (lane % 4) + i % 2];
    own.done = true;
  }
}

template <typename T>
void multiply_add(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                  CUDA_EMULATOR_PLACE) {
  WarpProduct own = {d, a, b, false};
  const cuda_emulator::Lanes& lanes = cuda_emulator::BlockRunner::current().exchange(
      ~0u, reinterpret_cast<uint64_t>(&own), {file, line});
  if (!own.done) multiply_of_warp<T>(lanes);
}

}  // namespace zerostream
