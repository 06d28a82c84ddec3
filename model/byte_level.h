// The alphabet of byte-level tokenizers: a printable character for every byte.
#pragma once

#include <string>
#include <string_view>

namespace zerostream {

// The bytes' characters, in UTF-8.
std::string bytes_to_characters(std::string_view bytes);
// The bytes that the characters stand for; the text as it is if one of them stands for none.
std::string characters_to_bytes(std::string_view text);

}  // namespace zerostream
