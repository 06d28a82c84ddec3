#include "model/byte_level.h"

#include <array>
#include <cstdint>

#include "model/utf8.h"

namespace zerostream {
namespace {

constexpr char32_t kFirstExtra = 0x100;  // bytes without a printable character follow from here
constexpr size_t kCharacters = 0x144;

constexpr bool is_printable(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr auto kCharacterOfByte = [] {
  std::array<char32_t, 256> characters{};
  char32_t extra = kFirstExtra;
  for (int byte = 0; byte < 256; ++byte) {
    characters[byte] = is_printable(byte) ? static_cast<char32_t>(byte) : extra++;
  }
  return characters;
}();

constexpr auto kByteOfCharacter = [] {
  std::array<int16_t, kCharacters> bytes{};
  bytes.fill(-1);
  for (int byte = 0; byte < 256; ++byte) {
    bytes[kCharacterOfByte[byte]] = static_cast<int16_t>(byte);
  }
  return bytes;
}();

}  // namespace

std::string bytes_to_characters(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const char byte : bytes) append_utf8(text, kCharacterOfByte[static_cast<uint8_t>(byte)]);
  return text;
}

std::string characters_to_bytes(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const Utf8Sequence next = utf8_at(text, i);
    const bool known =
        next.valid && next.code_point < kCharacters && kByteOfCharacter[next.code_point] >= 0;
    if (!known) return std::string(text);
    bytes.push_back(static_cast<char>(kByteOfCharacter[next.code_point]));
    i += next.bytes;
  }
  return bytes;
}

}  // namespace zerostream
