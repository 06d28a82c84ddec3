#include "offload/tile_pack.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/require.h"

namespace zerostream {
namespace {

constexpr uint32_t kInfinity = 0x7f800000;

// Branch-free, so that the loop below becomes vector code on any machine.
inline uint16_t round_to_fp16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const int32_t magnitude = static_cast<int32_t>(bits & 0x7fffffff);
  const int32_t sign = static_cast<int32_t>(bits >> 16 & 0x8000);
  // Rebias the exponent by 112 and round the 13 bits that go; a carry into infinity is right.
  const int32_t normal = (magnitude - (112 << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13;
  // Below 2^-14 the unit is 2^-24: adding 0.5 leaves the number of units in the low bits.
  const int32_t subnormal =
      std::bit_cast<int32_t>(std::bit_cast<float>(magnitude) + 0.5f) - std::bit_cast<int32_t>(0.5f);
  int32_t half = magnitude < (113 << 23) ? subnormal : normal;
  half = magnitude >= (143 << 23) ? 0x7c00 : half;
  half = magnitude > static_cast<int32_t>(kInfinity) ? 0x7e00 : half;
  return static_cast<uint16_t>(half | sign);
}

inline uint16_t round_to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  const bool nan = (bits & 0x7fffffff) > kInfinity;
  return static_cast<uint16_t>(nan ? (bits >> 16 | 0x40) : rounded);
}

// `infinity`: the exponent bits of an infinite number in 16 bits.
template <typename Round>
bool convert_16(const float* source, int64_t count, uint16_t infinity, Round round,
                std::byte* target) {
  uint16_t* out = reinterpret_cast<uint16_t*>(target);
  uint32_t overflows = 0;
  for (int64_t i = 0; i < count; ++i) {
    const uint16_t half = round(source[i]);
    const uint32_t finite = (std::bit_cast<uint32_t>(source[i]) & kInfinity) != kInfinity;
    overflows |= finite & static_cast<uint32_t>((half & infinity) == infinity);
    out[i] = half;
  }
  return overflows == 0;
}

// What fills 4 bytes stays together, so a tile is the transpose of a block of 32-bit words whatever
// the dtype.
constexpr int64_t kTileWords = 16;

void transpose_tile(const std::byte* rows, int64_t row_bytes, std::byte* tile) {
  uint32_t* out = reinterpret_cast<uint32_t*>(tile);
  for (int64_t output = 0; output < kPanelOutputs; ++output) {
    uint32_t words[kTileWords];
    std::memcpy(words, rows + output * row_bytes, sizeof(words));
    for (int64_t word = 0; word < kTileWords; ++word)
      out[word * kPanelOutputs + output] = words[word];
  }
}

int64_t padded_row_bytes(int64_t inputs, DType dtype) {
  return dtype_bytes(dtype, round_up(inputs, tile_inputs(dtype)));
}

}  // namespace

bool convert_floats(const float* source, int64_t count, DType dtype, std::byte* target) {
  switch (dtype) {
    case DType::kF32:
      std::memcpy(target, source, static_cast<size_t>(dtype_bytes(dtype, count)));
      return true;
    case DType::kF16:
      return convert_16(source, count, 0x7c00, round_to_fp16, target);
    case DType::kBF16:
      return convert_16(source, count, 0x7f80, round_to_bf16, target);
    default:
      require(false, "weights are packed as fp32, fp16 or bf16");
      return false;
  }
}

bool pack_panel(const float* source, int64_t rows, int64_t inputs, DType dtype, std::byte* scratch,
                std::byte* target) {
  const int64_t row_bytes = padded_row_bytes(inputs, dtype);
  const int64_t data_bytes = dtype_bytes(dtype, inputs);
  bool finite = true;
  for (int64_t row = 0; row < rows; ++row) {
    std::byte* line = scratch + row * row_bytes;
    finite &= convert_floats(source + row * inputs, inputs, dtype, line);
    std::memset(line + data_bytes, 0, static_cast<size_t>(row_bytes - data_bytes));
  }
  std::memset(scratch + rows * row_bytes, 0,
              static_cast<size_t>((kPanelOutputs - rows) * row_bytes));
  for (int64_t tile = 0; tile * kTileWords * 4 < row_bytes; ++tile) {
    transpose_tile(scratch + tile * kTileWords * 4, row_bytes, target + tile * kTileBytes);
  }
  return finite;
}

int64_t panel_scratch_bytes(int64_t inputs, DType dtype) {
  return kPanelOutputs * padded_row_bytes(inputs, dtype);
}

}  // namespace zerostream
