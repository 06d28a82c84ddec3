// Splits text where a pattern matches.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "model/regex.h"
#include "model/tokenizer_json.h"

namespace zerostream {

// What becomes of a match: left out, a word of its own, part of the word before or after it, or one
// word together with the matches next to it.
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

// Reads "Isolated", "MergedWithNext", ...
SplitBehavior read_split_behavior(const JsonPart& part);

// inverted: what lies between the matches is the match.
struct SplitRule {
  Regex pattern;
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool inverted = false;
};

// Appends the pieces of the text, without empty ones. Returns whether the first one is its
// beginning.
bool split_text(std::string_view text, const SplitRule& rule, std::vector<std::string>& pieces);

}  // namespace zerostream
