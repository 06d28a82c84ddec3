#include "offload/tile_pack.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/require.h"
#include "offload/quantise.h"

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

int64_t padded_row_bytes(const PackedWeight& weight) {
  return weight.tiles_bytes() / kPanelOutputs;
}

void transpose_rows(const std::byte* lines, int64_t row_bytes, std::byte* target) {
  for (int64_t tile = 0; tile * kTileWords * 4 < row_bytes; ++tile) {
    transpose_tile(lines + tile * kTileWords * 4, row_bytes, target + tile * kTileBytes);
  }
}

bool convert_rows(const float* source, int64_t rows, const PackedWeight& weight, std::byte* lines) {
  const int64_t row_bytes = padded_row_bytes(weight);
  const int64_t data_bytes = dtype_bytes(weight.dtype, weight.inputs);
  bool fits = true;
  for (int64_t row = 0; row < rows; ++row) {
    std::byte* line = lines + row * row_bytes;
    fits &= convert_floats(source + row * weight.inputs, weight.inputs, weight.dtype, line);
    std::memset(line + data_bytes, 0, static_cast<size_t>(row_bytes - data_bytes));
  }
  std::memset(lines + rows * row_bytes, 0, static_cast<size_t>((kPanelOutputs - rows) * row_bytes));
  return fits;
}

// The two halves of a tile of int4 share its bytes.
void pack_nibbles(const uint8_t* codes, int64_t row_bytes, std::byte* line) {
  constexpr int64_t kHalf = kTileWords * 4;
  for (int64_t begin = 0; begin < row_bytes; begin += kHalf, codes += 2 * kHalf) {
    for (int64_t i = 0; i < kHalf; ++i) {
      line[begin + i] = static_cast<std::byte>(codes[i] | codes[kHalf + i] << 4);
    }
  }
}

// Scratch of quantising: the rows of the tiles, a row's numbers padded with zeros, their codes.
struct QuantiseScratch {
  QuantiseScratch(const PackedWeight& weight, std::byte* scratch)
      : inputs(round_up(weight.inputs, kQuantisedRowInputs)),
        lines(scratch),
        numbers(reinterpret_cast<float*>(scratch + weight.tiles_bytes())),
        codes(reinterpret_cast<uint8_t*>(numbers + inputs)) {}
  static int64_t bytes(const PackedWeight& weight) {
    const int64_t inputs = round_up(weight.inputs, kQuantisedRowInputs);
    return weight.tiles_bytes() + inputs * static_cast<int64_t>(sizeof(float) + sizeof(uint8_t));
  }

  int64_t inputs;
  std::byte* lines;
  float* numbers;
  uint8_t* codes;
};

// Quantises one row into scratch.codes and its column of the group table.
bool quantise_row(const float* source, int64_t row, const PackedWeight& weight,
                  const QuantiseScratch& scratch, std::byte* table) {
  const Quantisation quantisation = {weight.dtype, weight.group_size, weight.has_zeros};
  std::copy_n(source, weight.inputs, scratch.numbers);
  std::fill(scratch.numbers + weight.inputs, scratch.numbers + scratch.inputs, 0.0f);
  bool fits = true;
  for (int64_t begin = 0; begin < scratch.inputs; begin += weight.group_size) {
    GroupScale group;
    fits &= quantise_group(scratch.numbers + begin, quantisation, scratch.codes + begin, group);
    if (begin >= weight.inputs) continue;
    std::byte* entry = table + begin / weight.group_size * weight.group_bytes();
    reinterpret_cast<uint16_t*>(entry)[row] = group.scale;
    if (weight.has_zeros) entry[kPanelOutputs * 2 + row] = static_cast<std::byte>(group.zero);
  }
  return fits;
}

bool quantise_rows(const float* source, int64_t rows, const PackedWeight& weight,
                   const QuantiseScratch& scratch, std::byte* table) {
  const int64_t row_bytes = padded_row_bytes(weight);
  std::memset(table, 0, static_cast<size_t>(weight.panel_bytes() - weight.tiles_bytes()));
  bool fits = true;
  for (int64_t row = 0; row < rows; ++row) {
    fits &= quantise_row(source + row * weight.inputs, row, weight, scratch, table);
    std::byte* line = scratch.lines + row * row_bytes;
    if (weight.dtype == DType::kI4) {
      pack_nibbles(scratch.codes, row_bytes, line);
    } else {
      std::memcpy(line, scratch.codes, static_cast<size_t>(row_bytes));
    }
  }
  const int zero = weight.has_zeros ? 0 : weight.dtype == DType::kI8 ? 0x80 : 0x88;
  std::memset(scratch.lines + rows * row_bytes, zero,
              static_cast<size_t>((kPanelOutputs - rows) * row_bytes));
  return fits;
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

bool pack_panel(const float* source, int64_t rows, const PackedWeight& weight, std::byte* scratch,
                std::byte* target) {
  const bool fits = weight.group_size == 0
                        ? convert_rows(source, rows, weight, scratch)
                        : quantise_rows(source, rows, weight, QuantiseScratch(weight, scratch),
                                        target + weight.tiles_bytes());
  transpose_rows(scratch, padded_row_bytes(weight), target);
  return fits;
}

int64_t panel_scratch_bytes(const PackedWeight& weight) {
  return weight.group_size == 0 ? weight.tiles_bytes() : QuantiseScratch::bytes(weight);
}

}  // namespace zerostream
