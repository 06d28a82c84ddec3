#include "offload/json_values.h"

#include <cmath>
#include <cstdio>
#include <limits>

#include "base/bytes.h"

namespace zerostream {
namespace {

std::string show_number(double number) {
  char text[32];
  std::snprintf(text, sizeof text, "%.10g", number);
  return text;
}

}  // namespace

int64_t read_integer(const Json& value, int64_t low, int64_t high) {
  const bool fits =
      value.is_number_integer() &&
      (!value.is_number_unsigned() ||
       value.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max()));
  if (!fits || value.get<int64_t>() < low || value.get<int64_t>() > high)
    throw BadValue{"an integer from " + std::to_string(low) + " to " + std::to_string(high)};
  return value.get<int64_t>();
}

uint64_t read_seed(const Json& value) {
  const bool negative =
      value.is_number_integer() && !value.is_number_unsigned() && value.get<int64_t>() < 0;
  if (!value.is_number_integer() || negative) throw BadValue{"an integer from 0 to 2^64 - 1"};
  return value.get<uint64_t>();
}

double read_number(const Json& value, NumberRange range) {
  const double number = value.is_number() ? value.get<double>() : std::nan("");
  const bool above = range.open_low ? number > range.low : number >= range.low;
  if (!above || !(number <= range.high))
    throw BadValue{"a number " + std::string(range.open_low ? "above " : "from ") +
                   show_number(range.low) + " to " + show_number(range.high)};
  return number;
}

bool read_bool(const Json& value) {
  if (!value.is_boolean()) throw BadValue{"true or false"};
  return value.get<bool>();
}

std::string read_string(const Json& value, std::string_view what) {
  if (!value.is_string() || value.get_ref<const std::string&>().empty())
    throw BadValue{std::string(what)};
  return value.get<std::string>();
}

std::vector<std::string> read_strings(const Json& value) {
  constexpr const char* kExpected = "a string or a list of strings, none of them empty";
  std::vector<std::string> strings;
  if (value.is_string()) {
    strings.push_back(read_string(value, kExpected));
  } else {
    if (!value.is_array()) throw BadValue{kExpected};
    for (const Json& item : value) strings.push_back(read_string(item, kExpected));
  }
  return strings;
}

std::vector<int32_t> read_token_ids(const Json& value) {
  const BadValue bad{"a list of token ids"};
  if (!value.is_array()) throw bad;
  std::vector<int32_t> ids;
  ids.reserve(value.size());
  for (const Json& item : value) {
    if (!item.is_number_integer()) throw bad;
    ids.push_back(static_cast<int32_t>(read_integer(item, 0, std::numeric_limits<int32_t>::max())));
  }
  return ids;
}

int64_t read_bytes(const Json& value, int64_t low, int64_t high) {
  std::optional<int64_t> bytes;
  if (value.is_string()) {
    bytes = parse_bytes(value.get_ref<const std::string&>());
  } else if (value.is_number_integer()) {
    bytes = parse_bytes(value.dump());
  }
  if (!bytes || *bytes < low || *bytes > high)
    throw BadValue{"a size such as 24GiB, from " + format_bytes(low) + " to " + format_bytes(high)};
  return *bytes;
}

int64_t read_size(const Json& value, int64_t low, int64_t high) {
  const int64_t bytes = read_bytes(value, low, high);
  const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
  if (bytes != 0 && text.find('B') == text.npos)
    throw BadValue{"a size with its unit, such as " + text + "GiB or " + text + "B"};
  return bytes;
}

size_t read_choice(const Json& value, std::span<const std::string_view> names) {
  std::string expected = names.size() == 1 ? "" : "one of ";
  for (size_t i = 0; i < names.size(); ++i) {
    if (value.is_string() && value.get_ref<const std::string&>() == names[i]) return i;
    expected += (i == 0 ? "" : ", ") + std::string(names[i]);
  }
  throw BadValue{expected};
}

std::string show_value(const Json& value) {
  constexpr size_t kMost = 60;
  std::string text = json_text(value);
  if (text.size() > kMost) {
    text.resize(kMost);
    while (!text.empty() && (text.back() & 0x80)) text.pop_back();
    text += "...";
  }
  return text;
}

}  // namespace zerostream
