// Edits of text that several parts of a tokenizer share.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

#include "model/regex.h"
#include "model/tokenizer_json.h"

namespace zerostream {

// Bounds what the parts of a tokenizer make of a text, however often each of them enlarges it:
// throws UsageError when `made` bytes or ids are out of all proportion to the `given` ones.
void check_growth(size_t given, size_t made);

// A "pattern" member: {"Regex": ...} or {"String": ...}.
Regex read_pattern(const JsonPart& part);

// What a "Replace" part with "pattern" and "content" does to a text.
std::function<std::string(const std::string&)> read_replacement(const JsonPart& part);

}  // namespace zerostream
