#include "model/storage_type.h"

#include <array>
#include <bit>
#include <cstring>

#include "base/dtype.h"

namespace zerostream {
namespace {

struct TypeEntry {
  std::string_view name;
  StorageBlock block;
};

// In the order of StorageType.
constexpr std::array<TypeEntry, 6> kTypes = {{{"F32", {1, 4}},
                                              {"F16", {1, 2}},
                                              {"BF16", {1, 2}},
                                              {"Q8_0", {32, 34}},
                                              {"Q4_0", {32, 18}},
                                              {"Q4_1", {32, 20}}}};

uint16_t load_u16(const std::byte* source) {
  uint16_t bits;
  std::memcpy(&bits, source, sizeof bits);
  return bits;
}

// fp16_to_float() without branches, for the vectoriser: the exponent is rebased by a product, which
// is exact for subnormals too.
float half_to_float(uint16_t bits) {
  const uint32_t magnitude = static_cast<uint32_t>(bits & 0x7fffu) << 13;
  const uint32_t special = (bits & 0x7c00u) == 0x7c00u ? 0x7f800000u : 0u;
  const float value = std::bit_cast<float>(magnitude) * 0x1p112f;
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(value) | special | sign);
}

void decode_f16(const std::byte* source, int64_t count, float* target) {
  for (int64_t i = 0; i < count; ++i) target[i] = half_to_float(load_u16(source + 2 * i));
}

void decode_bf16(const std::byte* source, int64_t count, float* target) {
  for (int64_t i = 0; i < count; ++i) target[i] = bf16_to_float(load_u16(source + 2 * i));
}

// Block: scale, 32 signed bytes.
void decode_q8_0(const std::byte* block, float* target) {
  const float scale = half_to_float(load_u16(block));
  for (int i = 0; i < 32; ++i)
    target[i] = scale * static_cast<float>(std::to_integer<int8_t>(block[2 + i]));
}

// Blocks of 4 bits: low halves of 16 bytes are the first 16 elements, high halves the others.
template <typename Value>
void decode_nibbles(const std::byte* bytes, float* target, Value value) {
  for (int i = 0; i < 16; ++i) {
    const auto pair = std::to_integer<uint32_t>(bytes[i]);
    target[i] = value(static_cast<float>(pair & 15u));
    target[i + 16] = value(static_cast<float>(pair >> 4));
  }
}

// Block: scale, nibbles that count from -8.
void decode_q4_0(const std::byte* block, float* target) {
  const float scale = half_to_float(load_u16(block));
  decode_nibbles(block + 2, target, [=](float nibble) { return scale * (nibble - 8.0f); });
}

// Block: scale, minimum, nibbles.
void decode_q4_1(const std::byte* block, float* target) {
  const float scale = half_to_float(load_u16(block));
  const float minimum = half_to_float(load_u16(block + 2));
  decode_nibbles(block + 4, target, [=](float nibble) { return scale * nibble + minimum; });
}

void decode_blocks(StorageType type, const std::byte* source, int64_t count, float* target,
                   void (*decode)(const std::byte*, float*)) {
  const StorageBlock block = storage_block(type);
  for (int64_t i = 0; i < count / block.elements; ++i)
    decode(source + i * block.bytes, target + i * block.elements);
}

}  // namespace

std::string_view storage_type_name(StorageType type) {
  return kTypes[static_cast<size_t>(type)].name;
}

StorageBlock storage_block(StorageType type) { return kTypes[static_cast<size_t>(type)].block; }

std::optional<StorageType> storage_type_from_name(std::string_view name) {
  for (size_t i = 0; i < kTypes.size(); ++i)
    if (kTypes[i].name == name) return static_cast<StorageType>(i);
  return std::nullopt;
}

void decode_elements(StorageType type, const std::byte* source, int64_t count, float* target) {
  switch (type) {
    case StorageType::kF32:
      std::memcpy(target, source, static_cast<size_t>(count) * sizeof(float));
      return;
    case StorageType::kF16:
      return decode_f16(source, count, target);
    case StorageType::kBF16:
      return decode_bf16(source, count, target);
    case StorageType::kQ8_0:
      return decode_blocks(type, source, count, target, decode_q8_0);
    case StorageType::kQ4_0:
      return decode_blocks(type, source, count, target, decode_q4_0);
    case StorageType::kQ4_1:
      return decode_blocks(type, source, count, target, decode_q4_1);
  }
}

}  // namespace zerostream
