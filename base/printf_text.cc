#include "base/printf_text.h"

#include <cstdarg>
#include <cstdio>

namespace zerostream {
namespace {

[[gnu::format(printf, 1, 0)]] std::string text_of(const char* format, va_list values) {
  char text[512];
  std::vsnprintf(text, sizeof text, format, values);
  return text;
}

}  // namespace

std::string printf_text(const char* format, ...) {
  va_list values;
  va_start(values, format);
  std::string text = text_of(format, values);
  va_end(values);
  return text;
}

std::string printf_line(const char* format, ...) {
  va_list values;
  va_start(values, format);
  std::string text = text_of(format, values);
  va_end(values);
  return text + "\n";
}

std::string count_text(int64_t count, const std::string& noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

}  // namespace zerostream
