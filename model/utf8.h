// UTF-8 text, one code point at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace zerostream {

// What begins at one place of a text: a whole character, or the longest run of bytes that a decoder
// replaces by one U+FFFD (the beginning of a character, or one stray byte). `bytes` is at least 1.
struct Utf8Sequence {
  bool valid = false;
  size_t bytes = 1;
  char32_t code_point = U'\uFFFD';
};

// The sequence at `position`, which must lie inside the text.
Utf8Sequence utf8_at(std::string_view text, size_t position);
void append_utf8(std::string& text, char32_t code_point);

// Offset of the first byte that is no UTF-8; npos if there is none.
size_t find_invalid_utf8(std::string_view text);
// The text with U+FFFD for what is no UTF-8.
std::string replace_invalid_utf8(std::string_view bytes);

}  // namespace zerostream
