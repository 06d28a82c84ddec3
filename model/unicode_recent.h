// Characters that Unicode got lately.
#pragma once

#include <string>
#include <string_view>

namespace zerostream {

// Members for a PCRE2 character class ("\x{897}\x{10EFC}-\x{10EFF}"): the code points of a general
// category ("L", "Lu", "Mn", ...) that Unicode 15 and 16 added. Tokenizers of Hugging Face know
// them, PCRE2 before 10.45 does not. Empty for other names.
std::string recent_code_points(std::string_view category);

}  // namespace zerostream
