// Regular expressions of tokenizers.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace zerostream {

// A pattern in the dialect of Hugging Face tokenizers (Oniguruma's Ruby syntax, Unicode 16), run by
// PCRE2: rewritten by translate_regex() where the two differ.
//
// Threads: const methods from any. Errors: CheckpointError for a pattern that is wrong or not
// supported; UsageError for a text on which the search takes more steps or memory than its length
// allows.
class Regex {
 public:
  struct Match {
    size_t begin = 0;  // bytes
    size_t end = 0;
  };

  // `where` names the pattern in errors.
  Regex(std::string_view pattern, const std::string& where);
  // Matches exactly this text.
  static Regex literal(std::string_view text);

  // All matches from left to right, without overlaps. An empty match right after another match does
  // not count. The text must be valid UTF-8.
  std::vector<Match> find_all(std::string_view text) const;

 private:
  std::shared_ptr<const void> code_;
};

// A word character as Rust's expressions have it, which some parts of tokenizers are written in.
inline constexpr std::string_view kRustWordCharacter = R"((?:(?![²³¹¼½¾])[\w\x{200C}\x{200D}]))";

// Writes a pattern of Oniguruma's Ruby syntax in PCRE2's, with a callout behind every repeat that
// gives nothing back. `where` names it in errors. Throws CheckpointError for what cannot be
// written.
std::string translate_regex(std::string_view pattern, const std::string& where);

}  // namespace zerostream
