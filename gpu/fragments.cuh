// Numbers as tensor cores take them, two of 16 bits in a register.
#pragma once

#include <tensor_core.cuh>

#include "gpu/device_code.cuh"

namespace zerostream {

// What tensor cores multiply numbers of a type as; int8 exactly.
template <typename T>
struct Multiplied {
  using Type = T;
};
template <>
struct Multiplied<int8_t> {
  using Type = __nv_bfloat16;
};

// Added to a byte by byte_number(), to be taken off again.
inline constexpr float kByteOffset = 0x1p23f;

// Byte i of a word, 0 .. 255, less offset - kByteOffset; exact.
__device__ __forceinline__ float byte_number(uint32_t word, unsigned i, float offset) {
  constexpr uint32_t kTwoTo23 = 0x4b000000;  // its last bits count ones
  return __uint_as_float(__byte_perm(word, kTwoTo23, 0x7540 | i)) - offset;
}

// The bytes of a word as two pairs.
template <typename T>
__device__ __forceinline__ uint2 unpack_bytes(uint32_t word, float offset) {
  return {pack_pair<T>(byte_number(word, 0, offset), byte_number(word, 1, offset)),
          pack_pair<T>(byte_number(word, 2, offset), byte_number(word, 3, offset))};
}

// Eight adjacent numbers from a place that is aligned to all of them.
template <typename T>
__device__ __forceinline__ uint4 load_eight(const T* source) {
  return *reinterpret_cast<const uint4*>(source);
}
__device__ __forceinline__ uint4 load_eight(const int8_t* source) {
  const uint2 words = *reinterpret_cast<const uint2*>(source);
  const uint2 low = unpack_bytes<__nv_bfloat16>(words.x ^ 0x80808080u, kByteOffset + 128);
  const uint2 high = unpack_bytes<__nv_bfloat16>(words.y ^ 0x80808080u, kByteOffset + 128);
  return {low.x, low.y, high.x, high.y};
}

}  // namespace zerostream
