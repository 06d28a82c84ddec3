// Checks of promises between parts of the engine.
#pragma once

#include <source_location>
#include <string>
#include <string_view>

#include "zerostream/error.h"

namespace zerostream {

// Throws InternalError with the caller's place when a promise is broken. For bugs of ours, never
// for bad input.
inline void require(bool holds, std::string_view promise,
                    std::source_location where = std::source_location::current()) {
  if (holds) return;
  throw InternalError(std::string(where.file_name()) + ":" + std::to_string(where.line()) +
                      ": broken promise: " + std::string(promise));
}

}  // namespace zerostream
