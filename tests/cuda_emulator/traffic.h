// Counts the device memory that kernels touch.
//
// Kernels must be compiled with -fsanitize=thread, and the program linked without: the compiler
// then calls traffic.cc at each access to memory, in place of ThreadSanitizer.
#pragma once

#include <cstdint>

namespace cuda_emulator {

// Bytes of the 32-byte sectors of device memory that blocks have touched since the last call, once
// for each block that touched them: what leaves a multiprocessor whose own cache holds what its
// block needs, where nothing is shared between blocks. Streams must be idle.
int64_t take_traffic();

}  // namespace cuda_emulator
