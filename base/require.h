// Checks of promises between parts of the engine.
#pragma once

#include <string>
#include <string_view>

#include "zerostream/error.h"

namespace zerostream {

// Throws InternalError with the caller's place when a promise is broken. For bugs of ours, never
// for bad input.
inline void require(bool holds, std::string_view promise, const char* file = __builtin_FILE(),
                    int line = __builtin_LINE()) {
  if (holds) return;
  throw InternalError(std::string(file) + ":" + std::to_string(line) +
                      ": broken promise: " + std::string(promise));
}

}  // namespace zerostream
