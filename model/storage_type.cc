#include "model/storage_type.h"

#include <array>
#include <bit>
#include <cstring>

#include "base/dtype.h"
#include "model/gguf_blocks.h"

namespace zerostream {
namespace {

struct TypeEntry {
  std::string_view name;
  StorageBlock block;
  void (*decode_block)(const std::byte*, float*);  // null for plain types
};

// In the order of StorageType.
constexpr std::array<TypeEntry, 19> kTypes = {{{"F32", {1, 4}, nullptr},
                                               {"F16", {1, 2}, nullptr},
                                               {"BF16", {1, 2}, nullptr},
                                               {"F8_E4M3", {1, 1}, nullptr},
                                               {"F8_E5M2", {1, 1}, nullptr},
                                               {"Q4_0", {32, 18}, decode_q4_0},
                                               {"Q4_1", {32, 20}, decode_q4_1},
                                               {"Q5_0", {32, 22}, decode_q5_0},
                                               {"Q5_1", {32, 24}, decode_q5_1},
                                               {"Q8_0", {32, 34}, decode_q8_0},
                                               {"Q8_1", {32, 36}, decode_q8_1},
                                               {"Q2_K", {256, 84}, decode_q2_k},
                                               {"Q3_K", {256, 110}, decode_q3_k},
                                               {"Q4_K", {256, 144}, decode_q4_k},
                                               {"Q5_K", {256, 176}, decode_q5_k},
                                               {"Q6_K", {256, 210}, decode_q6_k},
                                               {"Q8_K", {256, 292}, decode_q8_k},
                                               {"IQ4_NL", {32, 18}, decode_iq4_nl},
                                               {"IQ4_XS", {256, 136}, decode_iq4_xs}}};

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

// Exponents of 4 bits count from 7; all ones are a NaN. Rebased by a product as above.
float e4m3_to_float(uint8_t bits) {
  const uint32_t magnitude = bits & 0x7fu;
  const float value = std::bit_cast<float>(magnitude << 20) * 0x1p120f;
  const uint32_t special = magnitude == 0x7fu ? 0x7fc00000u : 0u;
  const uint32_t sign = static_cast<uint32_t>(bits & 0x80u) << 24;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(value) | special | sign);
}

void decode_e4m3(const std::byte* source, int64_t count, float* target) {
  for (int64_t i = 0; i < count; ++i)
    target[i] = e4m3_to_float(std::to_integer<uint8_t>(source[i]));
}

// The upper halves of fp16.
void decode_e5m2(const std::byte* source, int64_t count, float* target) {
  for (int64_t i = 0; i < count; ++i)
    target[i] = half_to_float(static_cast<uint16_t>(std::to_integer<uint32_t>(source[i]) << 8));
}

void decode_blocks(StorageType type, const std::byte* source, int64_t count, float* target) {
  const auto& [name, block, decode] = kTypes[static_cast<size_t>(type)];
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
  if (count == 0) return;  // then the pointers may be null
  switch (type) {
    case StorageType::kF32:
      std::memcpy(target, source, static_cast<size_t>(count) * sizeof(float));
      return;
    case StorageType::kF16:
      return decode_f16(source, count, target);
    case StorageType::kBF16:
      return decode_bf16(source, count, target);
    case StorageType::kF8E4M3:
      return decode_e4m3(source, count, target);
    case StorageType::kF8E5M2:
      return decode_e5m2(source, count, target);
    default:
      return decode_blocks(type, source, count, target);
  }
}

}  // namespace zerostream
