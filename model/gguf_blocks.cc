#include "model/gguf_blocks.h"

#include <array>
#include <cstdint>
#include <cstring>

#include "base/dtype.h"

namespace zerostream {
namespace {

template <typename T>
T load(const std::byte* source) {
  T value;
  std::memcpy(&value, source, sizeof value);
  return value;
}

float load_half(const std::byte* source) { return fp16_to_float(load<uint16_t>(source)); }

int byte_at(const std::byte* bytes, int index) { return std::to_integer<int>(bytes[index]); }

int signed_at(const std::byte* bytes, int index) { return std::to_integer<int8_t>(bytes[index]); }

// Element i of 32 whose low four bits are halves of 16 bytes: low halves first, then high ones.
int nibble_at(const std::byte* bytes, int i) { return byte_at(bytes, i % 16) >> i / 16 * 4 & 15; }

template <typename Value>
void fill(float* target, int count, Value value) {
  for (int i = 0; i < count; ++i) target[i] = value(i);
}

// The scale and the minimum of 32 elements, of six bits each.
struct ScaleMinimum {
  int scale;
  int minimum;
};

// Of group 0 to 7 in the 12 bytes of Q4_K and Q5_K: the first four groups have bytes of their own,
// whose upper two bits complete the nibbles of the other four.
ScaleMinimum scale_minimum(const std::byte* packed, int group) {
  if (group < 4) return {byte_at(packed, group) & 63, byte_at(packed, group + 4) & 63};
  const int low = byte_at(packed, group + 4);
  const int scale_high = byte_at(packed, group - 4) >> 6;
  const int minimum_high = byte_at(packed, group) >> 6;
  return {(low & 15) | scale_high << 4, low >> 4 | minimum_high << 4};
}

// Scale of group 0 to 15 in the 12 bytes of Q3_K: nibbles of the first 8 bytes, upper two bits in
// the last 4.
int q3_scale(const std::byte* packed, int group) {
  const int low = byte_at(packed, group % 8) >> group / 8 * 4 & 15;
  const int high = byte_at(packed, 8 + group % 4) >> group / 4 * 2 & 3;
  return (low | high << 4) - 32;
}

// Element i of 256 in 64 bytes: of each 128, every byte holds two bits of four elements that are
// 32 apart.
int two_bits_at(const std::byte* bytes, int i) {
  return byte_at(bytes, i / 128 * 32 + i % 32) >> i % 128 / 32 * 2 & 3;
}

// Element i of 256 in 128 bytes: of each 64, the low halves of 32 bytes, then the high ones.
int four_bits_at(const std::byte* bytes, int i) {
  return byte_at(bytes, i / 64 * 32 + i % 32) >> i % 64 / 32 * 4 & 15;
}

// Bit of element i of 256 in 32 bytes: every byte holds those of eight elements that are 32 apart.
int bit_at(const std::byte* bytes, int i) { return byte_at(bytes, i % 32) >> i / 32 & 1; }

constexpr std::array<int, 16> kNonLinear = {-127, -104, -83, -65, -49, -35, -22, -10,
                                            1,    13,   25,  38,  53,  69,  89,  113};

}  // namespace

// Scale, nibbles that count from -8.
void decode_q4_0(const std::byte* block, float* target) {
  const float scale = load_half(block);
  fill(target, 32, [=](int i) { return scale * static_cast<float>(nibble_at(block + 2, i) - 8); });
}

// Scale, minimum, nibbles.
void decode_q4_1(const std::byte* block, float* target) {
  const float scale = load_half(block);
  const float minimum = load_half(block + 2);
  fill(target, 32,
       [=](int i) { return scale * static_cast<float>(nibble_at(block + 4, i)) + minimum; });
}

// Scale, fifth bits, nibbles; values count from -16.
void decode_q5_0(const std::byte* block, float* target) {
  const float scale = load_half(block);
  const auto high = load<uint32_t>(block + 2);
  fill(target, 32, [=](int i) {
    const int value = nibble_at(block + 6, i) | static_cast<int>(high >> i & 1) << 4;
    return scale * static_cast<float>(value - 16);
  });
}

// Scale, minimum, fifth bits, nibbles.
void decode_q5_1(const std::byte* block, float* target) {
  const float scale = load_half(block);
  const float minimum = load_half(block + 2);
  const auto high = load<uint32_t>(block + 4);
  fill(target, 32, [=](int i) {
    const int value = nibble_at(block + 8, i) | static_cast<int>(high >> i & 1) << 4;
    return scale * static_cast<float>(value) + minimum;
  });
}

// Scale, bytes.
void decode_q8_0(const std::byte* block, float* target) {
  const float scale = load_half(block);
  fill(target, 32, [=](int i) { return scale * static_cast<float>(signed_at(block + 2, i)); });
}

// Scale, scaled sum of the bytes (for products), bytes.
void decode_q8_1(const std::byte* block, float* target) {
  const float scale = load_half(block);
  fill(target, 32, [=](int i) { return scale * static_cast<float>(signed_at(block + 4, i)); });
}

// Scale, nibbles that number the entries of a table.
void decode_iq4_nl(const std::byte* block, float* target) {
  const float scale = load_half(block);
  fill(target, 32, [=](int i) {
    return scale * static_cast<float>(kNonLinear[static_cast<size_t>(nibble_at(block + 2, i))]);
  });
}

// 16 pairs of scale and minimum in nibbles, 2 bits per element, scales of both.
void decode_q2_k(const std::byte* block, float* target) {
  const float scales = load_half(block + 80);
  const float minimums = load_half(block + 82);
  for (int first = 0; first < 256; first += 16) {
    const int pair = byte_at(block, first / 16);
    const float scale = scales * static_cast<float>(pair & 15);
    const float minimum = minimums * static_cast<float>(pair >> 4);
    fill(target + first, 16, [=](int i) {
      return scale * static_cast<float>(two_bits_at(block + 16, first + i)) - minimum;
    });
  }
}

// Third bits, 2 bits per element, 16 scales of 6 bits, scale; values count from -4.
void decode_q3_k(const std::byte* block, float* target) {
  const float scales = load_half(block + 108);
  for (int first = 0; first < 256; first += 16) {
    const float scale = scales * static_cast<float>(q3_scale(block + 96, first / 16));
    fill(target + first, 16, [=](int i) {
      const int low = two_bits_at(block + 32, first + i);
      return scale * static_cast<float>((low | bit_at(block, first + i) << 2) - 4);
    });
  }
}

// Scales of scales and minimums, 8 pairs of those, nibbles.
void decode_q4_k(const std::byte* block, float* target) {
  const float scales = load_half(block);
  const float minimums = load_half(block + 2);
  for (int first = 0; first < 256; first += 32) {
    const ScaleMinimum pair = scale_minimum(block + 4, first / 32);
    const float scale = scales * static_cast<float>(pair.scale);
    const float minimum = minimums * static_cast<float>(pair.minimum);
    fill(target + first, 32, [=](int i) {
      return scale * static_cast<float>(four_bits_at(block + 16, first + i)) - minimum;
    });
  }
}

// As Q4_K, with fifth bits before the nibbles.
void decode_q5_k(const std::byte* block, float* target) {
  const float scales = load_half(block);
  const float minimums = load_half(block + 2);
  for (int first = 0; first < 256; first += 32) {
    const ScaleMinimum pair = scale_minimum(block + 4, first / 32);
    const float scale = scales * static_cast<float>(pair.scale);
    const float minimum = minimums * static_cast<float>(pair.minimum);
    fill(target + first, 32, [=](int i) {
      const int low = four_bits_at(block + 48, first + i);
      return scale * static_cast<float>(low | bit_at(block + 16, first + i) << 4) - minimum;
    });
  }
}

// Low four bits (of each 128 elements, the low halves of 64 bytes, then the high ones), upper two
// bits, 16 scales, scale; values count from -32.
void decode_q6_k(const std::byte* block, float* target) {
  const float scales = load_half(block + 208);
  for (int first = 0; first < 256; first += 16) {
    const float scale = scales * static_cast<float>(signed_at(block + 192, first / 16));
    fill(target + first, 16, [=](int offset) {
      const int i = first + offset;
      const int low = byte_at(block, i / 128 * 64 + i % 64) >> i % 128 / 64 * 4 & 15;
      return scale * static_cast<float>((low | two_bits_at(block + 128, i) << 4) - 32);
    });
  }
}

// Scale in fp32, bytes, their sums (for products).
void decode_q8_k(const std::byte* block, float* target) {
  const auto scale = load<float>(block);
  fill(target, 256, [=](int i) { return scale * static_cast<float>(signed_at(block + 4, i)); });
}

// Scale, upper two bits of 8 scales, their low four bits, nibbles as in IQ4_NL.
void decode_iq4_xs(const std::byte* block, float* target) {
  const float scales = load_half(block);
  const int scales_high = load<uint16_t>(block + 2);
  for (int group = 0; group < 8; ++group) {
    const int low = byte_at(block + 4, group / 2) >> group % 2 * 4 & 15;
    const int high = scales_high >> 2 * group & 3;
    const float scale = scales * static_cast<float>((low | high << 4) - 32);
    fill(target + 32 * group, 32, [=](int i) {
      const int entry = nibble_at(block + 8 + 16 * group, i);
      return scale * static_cast<float>(kNonLinear[static_cast<size_t>(entry)]);
    });
  }
}

}  // namespace zerostream
