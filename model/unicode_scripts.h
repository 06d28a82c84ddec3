// Scripts of characters.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace zerostream {

// Appends the pieces of a text that are of one script each, as Hugging Face's "UnicodeScripts" cuts
// them: Han with Hiragana and Katakana; spaces and characters that Unicode got after version 8
// belong to the piece before them, and are left out where there is none.
// Returns whether the first piece is the beginning of the text.
bool cut_by_script(std::string_view text, std::vector<std::string>& pieces);

}  // namespace zerostream
