// What kernels use of CUDA's language, for host compilers. Kernels must not need dynamic shared
// memory, nor inline assembly but that of gpu/ptx.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "tests/cuda_emulator/block.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
// A block runs on one thread.
#define __shared__ static __thread

namespace cuda_emulator {

template <typename T>
uint64_t to_bits(T value) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return bits;
}

template <typename T>
T from_bits(uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

// The value of another lane of the mask.
template <typename T>
T shuffle(unsigned mask, T value, int source, Place place) {
  const Lanes& lanes = BlockRunner::current().exchange(mask, to_bits(value), place);
  if ((mask >> source & 1) == 0) BlockRunner::current().fail("a shuffle reads a lane not named");
  return from_bits<T>(lanes.values[source]);
}

inline int source_within(int width, int source) {
  const int lane = BlockRunner::current().lane();
  return lane / width == source / width && source >= 0 ? source : lane;
}

inline uint32_t ballot(unsigned mask, int predicate, Place place) {
  const Lanes& lanes = BlockRunner::current().exchange(mask, predicate != 0, place);
  uint32_t votes = 0;
  for (int lane = 0; lane < 32; ++lane)
    if ((mask >> lane & 1) != 0 && lanes.values[lane] == 1) votes |= 1u << lane;
  return votes;
}

// Replaces *target by change(*target) and returns what it was.
template <typename T, typename Change>
T atomic_change(T* target, const Change& change) {
  using Bits = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;
  static_assert(sizeof(T) == sizeof(Bits));
  auto* bits = reinterpret_cast<Bits*>(target);
  Bits before = __atomic_load_n(bits, __ATOMIC_RELAXED);
  for (;;) {
    const T old = std::bit_cast<T>(before);
    const Bits after = std::bit_cast<Bits>(static_cast<T>(change(old)));
    if (__atomic_compare_exchange_n(bits, &before, after, false, __ATOMIC_RELAXED,
                                    __ATOMIC_RELAXED))
      return old;
  }
}

}  // namespace cuda_emulator

#define CUDA_EMULATOR_PLACE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(CUDA_EMULATOR_PLACE) {
  cuda_emulator::BlockRunner::current().barrier(cuda_emulator::Vote::kNone, 0, {file, line});
}
inline int __syncthreads_count(int predicate, CUDA_EMULATOR_PLACE) {
  using cuda_emulator::Vote;
  return cuda_emulator::BlockRunner::current().barrier(Vote::kCount, predicate, {file, line});
}
inline int __syncthreads_and(int predicate, CUDA_EMULATOR_PLACE) {
  using cuda_emulator::Vote;
  return cuda_emulator::BlockRunner::current().barrier(Vote::kAnd, predicate, {file, line});
}
inline int __syncthreads_or(int predicate, CUDA_EMULATOR_PLACE) {
  using cuda_emulator::Vote;
  return cuda_emulator::BlockRunner::current().barrier(Vote::kOr, predicate, {file, line});
}
inline void __syncwarp(unsigned mask = ~0u, CUDA_EMULATOR_PLACE) {
  cuda_emulator::BlockRunner::current().warp_barrier(mask, {file, line});
}

template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, CUDA_EMULATOR_PLACE) {
  const int base = cuda_emulator::BlockRunner::current().lane() / width * width;
  return cuda_emulator::shuffle(mask, value, base + (source & (width - 1)), {file, line});
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, CUDA_EMULATOR_PLACE) {
  const int source = cuda_emulator::BlockRunner::current().lane() ^ bits;
  return cuda_emulator::shuffle(mask, value, cuda_emulator::source_within(width, source),
                                {file, line});
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, CUDA_EMULATOR_PLACE) {
  const int source = cuda_emulator::BlockRunner::current().lane() - static_cast<int>(delta);
  return cuda_emulator::shuffle(mask, value, cuda_emulator::source_within(width, source),
                                {file, line});
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, CUDA_EMULATOR_PLACE) {
  const int source = cuda_emulator::BlockRunner::current().lane() + static_cast<int>(delta);
  return cuda_emulator::shuffle(mask, value, cuda_emulator::source_within(width, source),
                                {file, line});
}
inline unsigned __ballot_sync(unsigned mask, int predicate, CUDA_EMULATOR_PLACE) {
  return cuda_emulator::ballot(mask, predicate, {file, line});
}
inline int __any_sync(unsigned mask, int predicate, CUDA_EMULATOR_PLACE) {
  return cuda_emulator::ballot(mask, predicate, {file, line}) != 0;
}
inline int __all_sync(unsigned mask, int predicate, CUDA_EMULATOR_PLACE) {
  return cuda_emulator::ballot(mask, !predicate, {file, line}) == 0;
}

template <typename T>
T atomicAdd(T* target, std::type_identity_t<T> value) {
  return cuda_emulator::atomic_change(target, [=](T old) { return old + value; });
}
template <typename T>
T atomicMax(T* target, std::type_identity_t<T> value) {
  return cuda_emulator::atomic_change(target, [=](T old) { return old > value ? old : value; });
}
template <typename T>
T atomicMin(T* target, std::type_identity_t<T> value) {
  return cuda_emulator::atomic_change(target, [=](T old) { return old < value ? old : value; });
}
template <typename T>
T atomicOr(T* target, std::type_identity_t<T> value) {
  return cuda_emulator::atomic_change(target, [=](T old) { return old | value; });
}
template <typename T>
T atomicExch(T* target, std::type_identity_t<T> value) {
  return cuda_emulator::atomic_change(target, [=](T) { return value; });
}
template <typename T>
T atomicCAS(T* target, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  return cuda_emulator::atomic_change(target, [=](T old) { return old == expected ? value : old; });
}

inline float __uint_as_float(unsigned bits) { return std::bit_cast<float>(bits); }
inline unsigned __float_as_uint(float value) { return std::bit_cast<unsigned>(value); }
// Byte i of the result is the byte of y:x that the i-th half byte of the selector names.
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const uint64_t bytes = uint64_t{y} << 32 | x;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i)
    result |= static_cast<unsigned>(bytes >> 8 * (selector >> 4 * i & 7) & 0xff) << 8 * i;
  return result;
}
inline int __popc(unsigned bits) { return std::popcount(bits); }
inline int __ffs(int bits) { return __builtin_ffs(bits); }
inline float __fdividef(float x, float y) { return x / y; }
