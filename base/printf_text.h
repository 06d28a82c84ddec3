// printf() into a string.
#pragma once

#include <cstdint>
#include <string>

namespace zerostream {

// At most 511 characters; more is cut off.
[[gnu::format(printf, 1, 2)]] std::string printf_text(const char* format, ...);
// The same and a line feed.
[[gnu::format(printf, 1, 2)]] std::string printf_line(const char* format, ...);

// "1 row", "2 rows".
std::string count_text(int64_t count, const std::string& noun);

}  // namespace zerostream
