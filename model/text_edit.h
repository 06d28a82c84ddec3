// Edits of text that several parts of a tokenizer share.
#pragma once

#include <functional>
#include <string>

#include "model/regex.h"
#include "model/tokenizer_json.h"

namespace zerostream {

// A "pattern" member: {"Regex": ...} or {"String": ...}.
Regex read_pattern(const JsonPart& part);

// What a "Replace" part with "pattern" and "content" does to a text.
std::function<std::string(const std::string&)> read_replacement(const JsonPart& part);

}  // namespace zerostream
