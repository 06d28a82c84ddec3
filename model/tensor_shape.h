// Shapes in file headers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace zerostream {

// The product of the dimensions, none of which is negative; nullopt when it exceeds 63 bits.
inline std::optional<int64_t> element_count(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t size : shape)
    if (__builtin_mul_overflow(count, size, &count)) return std::nullopt;
  return count;
}

// "[2, 3]"
inline std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (const int64_t size : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + "]";
}

}  // namespace zerostream
