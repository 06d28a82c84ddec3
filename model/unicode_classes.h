// Classes of characters as the parts of Hugging Face tokenizers know them, each by the tables of
// the Unicode version that it was written with.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>

namespace zerostream {

struct CodePointRange {
  char32_t first, last;
};

// Whether a code point lies in one of the ranges, which are in order.
template <size_t kCount>
bool in_ranges(char32_t c, const CodePointRange (&ranges)[kCount]) {
  const auto after =
      std::upper_bound(std::begin(ranges), std::end(ranges), c,
                       [](char32_t point, auto range) { return point < range.first; });
  return after != std::begin(ranges) && c <= std::prev(after)->last;
}

bool is_white_space(char32_t c);      // as in Rust
bool is_combining_mark(char32_t c);   // what StripAccents takes away
bool is_nonspacing_mark(char32_t c);  // what BertNormalizer takes away as an accent
bool is_control(char32_t c);          // what it takes away when it cleans
bool is_cjk_ideograph(char32_t c);    // what it puts spaces around

// Appends the lower case of a character.
void append_lowercase(std::string& text, char32_t c);

}  // namespace zerostream
