// Unicode's normal forms.
#pragma once

#include <string>
#include <string_view>

namespace zerostream {

enum class UnicodeForm { kNfc, kNfd, kNfkc, kNfkd };

// A text in a normal form, by the tables of Unicode 9 that Hugging Face tokenizers have. The text
// must be valid UTF-8.
std::string to_unicode_form(std::string_view text, UnicodeForm form);

}  // namespace zerostream
