#include "model/utf8.h"

namespace zerostream {
namespace {

struct Lead {
  size_t bytes = 0;  // of the whole character; 0: no character begins so
  uint8_t second_low = 0x80;
  uint8_t second_high = 0xBF;
};

// Bounds of the second byte leave out overlong forms, surrogates and what is beyond U+10FFFF.
Lead lead_of(uint8_t byte) {
  if (byte < 0x80) return {1};
  if (byte < 0xC2 || byte > 0xF4) return {0};
  if (byte < 0xE0) return {2};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte < 0xF0) return {3};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {4};
}

}  // namespace

Utf8Sequence utf8_at(std::string_view text, size_t position) {
  const auto first = static_cast<uint8_t>(text[position]);
  const Lead lead = lead_of(first);
  if (lead.bytes == 0) return {};
  if (lead.bytes == 1) return {true, 1, first};
  char32_t code_point = first & (0x7F >> lead.bytes);
  uint8_t low = lead.second_low, high = lead.second_high;
  for (size_t i = 1; i < lead.bytes; ++i) {
    if (position + i == text.size()) return {false, i};
    const auto byte = static_cast<uint8_t>(text[position + i]);
    if (byte < low || byte > high) return {false, i};
    code_point = (code_point << 6) | (byte & 0x3F);
    low = 0x80;
    high = 0xBF;
  }
  return {true, lead.bytes, code_point};
}

void append_utf8(std::string& text, char32_t code_point) {
  const auto put = [&text](char32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0 | (code_point >> 6));
    put(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    put(0xE0 | (code_point >> 12));
    put(0x80 | ((code_point >> 6) & 0x3F));
    put(0x80 | (code_point & 0x3F));
  } else {
    put(0xF0 | (code_point >> 18));
    put(0x80 | ((code_point >> 12) & 0x3F));
    put(0x80 | ((code_point >> 6) & 0x3F));
    put(0x80 | (code_point & 0x3F));
  }
}

size_t find_invalid_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const Utf8Sequence sequence = utf8_at(text, i);
    if (!sequence.valid) return i;
    i += sequence.bytes;
  }
  return std::string_view::npos;
}

std::string replace_invalid_utf8(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  for (size_t i = 0; i < bytes.size();) {
    const Utf8Sequence sequence = utf8_at(bytes, i);
    text += sequence.valid ? bytes.substr(i, sequence.bytes) : std::string_view("\uFFFD");
    i += sequence.bytes;
  }
  return text;
}

}  // namespace zerostream
