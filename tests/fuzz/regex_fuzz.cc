#include "model/regex.h"
#include "model/utf8.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/fuzz_targets.h"

namespace zerostream {

constexpr size_t kMostText = 2048;

void fuzz_regex(std::string_view input) {
  const std::vector<std::string> parts = split_parts(input, 2);
  if (find_invalid_utf8(parts[0]) != std::string::npos) return;
  // Possessive repeats are counted as one step each, docs/reliability.md: long texts may take long.
  const std::string text = replace_invalid_utf8(parts[1].substr(0, kMostText));
  size_t end = 0;
  for (const Regex::Match& match : Regex(parts[0], "fuzz").find_all(text)) {
    expect(match.begin >= end && match.end >= match.begin && match.end <= text.size(),
           "matches follow each other");
    end = match.end;
  }
}

}  // namespace zerostream
