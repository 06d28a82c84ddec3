// Element types of tensors, in checkpoints, stores and kernels.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

namespace zerostream {

enum class DType : uint8_t { kF32, kF16, kBF16, kI8, kI4, kU8, kI32, kI64 };

// Of computation and of weights that were not quantised.
constexpr bool is_float(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

// Of weights with a scale for each group.
constexpr bool is_quantised(DType dtype) { return dtype == DType::kI8 || dtype == DType::kI4; }

// Bits of one element.
constexpr int64_t dtype_bits(DType dtype) {
  switch (dtype) {
    case DType::kF32:
    case DType::kI32:
      return 32;
    case DType::kF16:
    case DType::kBF16:
      return 16;
    case DType::kI8:
    case DType::kU8:
      return 8;
    case DType::kI4:
      return 4;
    case DType::kI64:
      return 64;
  }
  return 0;
}

// Bytes of `count` elements, rounded up to whole bytes.
constexpr int64_t dtype_bytes(DType dtype, int64_t count = 1) {
  return (dtype_bits(dtype) * count + 7) / 8;
}

// "fp32", "fp16", "bf16", "int8", "int4", "uint8", "int32", "int64": the names of the run file and
// the manifest.
std::string_view dtype_name(DType dtype);
std::optional<DType> dtype_from_name(std::string_view name);

// Scalar conversions, round to nearest even; NaN stays NaN.
inline float bf16_to_float(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}
inline uint16_t float_to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
float fp16_to_float(uint16_t bits);
uint16_t float_to_fp16(float value);

// Reads or writes element `index` of an array of kF32, kF16 or kBF16. For reference code and tests,
// not for speed.
float load_float(const void* data, DType dtype, int64_t index);
void store_float(void* data, DType dtype, int64_t index, float value);

}  // namespace zerostream
