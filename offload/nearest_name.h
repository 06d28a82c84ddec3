// Help for people who misspell a name.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace zerostream {

// "; did you mean \"NAME\"?" with the known name that takes the fewest edits (insert, delete,
// replace, swap of neighbours); empty when none is near.
std::string suggest_name(std::string_view name, std::span<const std::string_view> known);

}  // namespace zerostream
