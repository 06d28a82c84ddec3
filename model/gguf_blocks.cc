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

// Small numbers from kBytes bytes: each of kWidth bytes in a row holds numbers that are kWidth
// apart, the first in its lowest bits.
template <int kBits, int kWidth, int kBytes>
std::array<uint8_t, kBytes * 8 / kBits> unpack(const std::byte* bytes) {
  constexpr int kPerByte = 8 / kBits;
  constexpr uint32_t kMask = (1u << kBits) - 1;
  std::array<uint8_t, kBytes * kPerByte> numbers;
  for (int first = 0; first < kBytes; first += kWidth) {
    for (int part = 0; part < kPerByte; ++part) {
      uint8_t* target = numbers.data() + first * kPerByte + part * kWidth;
      for (int i = 0; i < kWidth; ++i) {
        const auto byte = std::to_integer<uint32_t>(bytes[first + i]);
        target[i] = static_cast<uint8_t>(byte >> part * kBits & kMask);
      }
    }
  }
  return numbers;
}

// Adds to each number the bit of that place, as its bit kBit.
template <int kBit, size_t kCount>
void add_bits(const std::array<uint8_t, kCount>& bits, std::array<uint8_t, kCount>& numbers) {
  for (size_t i = 0; i < kCount; ++i)
    numbers[i] = static_cast<uint8_t>(numbers[i] | bits[i] << kBit);
}

std::array<uint8_t, 32> five_bits(const std::byte* high, const std::byte* low) {
  std::array<uint8_t, 32> numbers = unpack<4, 16, 16>(low);
  const auto bits = load<uint32_t>(high);
  for (uint32_t i = 0; i < 32; ++i)
    numbers[i] = static_cast<uint8_t>(numbers[i] | (bits >> i & 1) << 4);
  return numbers;
}

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

// Numbers of Q4_K and Q5_K, after the scales that stand at the block's beginning.
void scale_groups(const std::byte* block, const std::array<uint8_t, 256>& numbers, float* target) {
  const float scales = load_half(block);
  const float minimums = load_half(block + 2);
  for (int first = 0; first < 256; first += 32) {
    const ScaleMinimum pair = scale_minimum(block + 4, first / 32);
    const float scale = scales * static_cast<float>(pair.scale);
    const float minimum = minimums * static_cast<float>(pair.minimum);
    fill(target + first, 32,
         [&](int i) { return scale * static_cast<float>(numbers[first + i]) - minimum; });
  }
}

constexpr std::array<float, 16> kNonLinear = {-127, -104, -83, -65, -49, -35, -22, -10,
                                              1,    13,   25,  38,  53,  69,  89,  113};

}  // namespace

// Scale, nibbles that count from -8.
void decode_q4_0(const std::byte* block, float* target) {
  const float scale = load_half(block);
  const auto numbers = unpack<4, 16, 16>(block + 2);
  fill(target, 32, [&](int i) { return scale * static_cast<float>(numbers[i] - 8); });
}

// Scale, minimum, nibbles.
void decode_q4_1(const std::byte* block, float* target) {
  const float scale = load_half(block);
  const float minimum = load_half(block + 2);
  const auto numbers = unpack<4, 16, 16>(block + 4);
  fill(target, 32, [&](int i) { return scale * static_cast<float>(numbers[i]) + minimum; });
}

// Scale, fifth bits, nibbles; values count from -16.
void decode_q5_0(const std::byte* block, float* target) {
  const float scale = load_half(block);
  const auto numbers = five_bits(block + 2, block + 6);
  fill(target, 32, [&](int i) { return scale * static_cast<float>(numbers[i] - 16); });
}

// Scale, minimum, fifth bits, nibbles.
void decode_q5_1(const std::byte* block, float* target) {
  const float scale = load_half(block);
  const float minimum = load_half(block + 2);
  const auto numbers = five_bits(block + 4, block + 8);
  fill(target, 32, [&](int i) { return scale * static_cast<float>(numbers[i]) + minimum; });
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
  const auto numbers = unpack<4, 16, 16>(block + 2);
  fill(target, 32, [&](int i) { return scale * kNonLinear[numbers[i]]; });
}

// 16 pairs of scale and minimum in nibbles, 2 bits per element, scales of both.
void decode_q2_k(const std::byte* block, float* target) {
  const float scales = load_half(block + 80);
  const float minimums = load_half(block + 82);
  const auto numbers = unpack<2, 32, 64>(block + 16);
  for (int first = 0; first < 256; first += 16) {
    const int pair = byte_at(block, first / 16);
    const float scale = scales * static_cast<float>(pair & 15);
    const float minimum = minimums * static_cast<float>(pair >> 4);
    fill(target + first, 16,
         [&](int i) { return scale * static_cast<float>(numbers[first + i]) - minimum; });
  }
}

// Third bits, 2 bits per element, 16 scales of 6 bits, scale; values count from -4.
void decode_q3_k(const std::byte* block, float* target) {
  const float scales = load_half(block + 108);
  auto numbers = unpack<2, 32, 64>(block + 32);
  add_bits<2>(unpack<1, 32, 32>(block), numbers);
  for (int first = 0; first < 256; first += 16) {
    const float scale = scales * static_cast<float>(q3_scale(block + 96, first / 16));
    fill(target + first, 16,
         [&](int i) { return scale * static_cast<float>(numbers[first + i] - 4); });
  }
}

// Scales of scales and minimums, 8 pairs of those, nibbles.
void decode_q4_k(const std::byte* block, float* target) {
  scale_groups(block, unpack<4, 32, 128>(block + 16), target);
}

// As Q4_K, with fifth bits before the nibbles.
void decode_q5_k(const std::byte* block, float* target) {
  auto numbers = unpack<4, 32, 128>(block + 48);
  add_bits<4>(unpack<1, 32, 32>(block + 16), numbers);
  scale_groups(block, numbers, target);
}

// Low four bits, upper two bits, 16 scales, scale; values count from -32.
void decode_q6_k(const std::byte* block, float* target) {
  const float scales = load_half(block + 208);
  auto numbers = unpack<4, 64, 128>(block);
  add_bits<4>(unpack<2, 32, 64>(block + 128), numbers);
  for (int first = 0; first < 256; first += 16) {
    const float scale = scales * static_cast<float>(signed_at(block + 192, first / 16));
    fill(target + first, 16,
         [&](int i) { return scale * static_cast<float>(numbers[first + i] - 32); });
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
  const auto numbers = unpack<4, 16, 128>(block + 8);
  for (int group = 0; group < 8; ++group) {
    const int low = byte_at(block + 4, group / 2) >> group % 2 * 4 & 15;
    const int high = scales_high >> 2 * group & 3;
    const float scale = scales * static_cast<float>((low | high << 4) - 32);
    fill(target + 32 * group, 32,
         [&](int i) { return scale * kNonLinear[numbers[32 * group + i]]; });
  }
}

}  // namespace zerostream
