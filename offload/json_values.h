// Checked conversions of values that people wrote, in run files, flags and rows.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/json.h"

namespace zerostream {

// A value that is not what it should be. Caught by who knows where the value stands.
struct BadValue {
  std::string expected;  // "an integer from 1 to 8"
};

// Limits of a number, both included unless `open_low`.
struct NumberRange {
  double low = 0;
  double high = 0;
  bool open_low = false;
};

// Each throws BadValue unless the value is of its kind and within its limits. Integers may not be
// written as 1.0 or "1".
int64_t read_integer(const Json& value, int64_t low, int64_t high);
uint64_t read_seed(const Json& value);  // any integer from 0 to 2^64 - 1
double read_number(const Json& value, NumberRange range);
bool read_bool(const Json& value);
std::string read_string(const Json& value, std::string_view what);
// A string, or a list of non-empty strings.
std::vector<std::string> read_strings(const Json& value);
std::vector<int32_t> read_token_ids(const Json& value);
// Bytes as an integer, or as a string with a unit ("24GiB").
int64_t read_bytes(const Json& value, int64_t low, int64_t high);
// The same of what people write, who must say the unit of all but 0.
int64_t read_size(const Json& value, int64_t low, int64_t high);
// The position of the string among `names`.
size_t read_choice(const Json& value, std::span<const std::string_view> names);

// nullopt for the string "auto", else what `read` makes of the value.
template <typename Read>
auto read_or_auto(const Json& value, Read read) -> std::optional<decltype(read(value))> {
  if (value.is_string() && value.get_ref<const std::string&>() == "auto") return std::nullopt;
  try {
    return read(value);
  } catch (BadValue& bad) {
    throw BadValue{"auto or " + bad.expected};
  }
}

// The value as JSON, shortened for a message.
std::string show_value(const Json& value);

}  // namespace zerostream
