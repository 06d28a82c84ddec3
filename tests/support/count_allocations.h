// How often the program has called operator new.
#pragma once

#include <cstdint>

namespace zerostream {

// Calls of operator new, in all threads, since the start. Naming this links a counting operator new
// into the test program.
int64_t allocations();

}  // namespace zerostream
