#include "model/text_edit.h"

#include <string_view>

#include "zerostream/error.h"

namespace zerostream {
namespace {

// Unicode's longest compatibility form takes 11 times the bytes of its character, byte-level
// characters twice those of theirs.
constexpr size_t kMostGrowth = 32;
constexpr size_t kFreeGrowth = 4096;  // of short texts

}  // namespace

void check_growth(size_t given, size_t made) {
  if (made <= kFreeGrowth || (made - kFreeGrowth) / kMostGrowth <= given) return;
  throw UsageError("the tokenizer makes " + std::to_string(made) +
                   " bytes or tokens of a text of " + std::to_string(given));
}

Regex read_pattern(const JsonPart& part) {
  const JsonPart pattern = part.member("pattern");
  if (!pattern.member("Regex").is_null()) {
    const JsonPart regex = pattern.member("Regex");
    return Regex(regex.text(), regex.where());
  }
  const std::string text = pattern.member("String").text();
  if (text.empty()) pattern.fail("must not be empty");
  return Regex::literal(text);
}

std::function<std::string(const std::string&)> read_replacement(const JsonPart& part) {
  return [pattern = read_pattern(part),
          content = part.member("content").text()](const std::string& text) {
    std::string result;
    size_t done = 0;
    for (const Regex::Match& match : pattern.find_all(text)) {
      result += std::string_view(text).substr(done, match.begin - done);
      result += content;
      done = match.end;
      check_growth(text.size(), result.size());
    }
    return result + text.substr(done);
  };
}

}  // namespace zerostream
