// Data out of the processor's caches, for measurements.
#pragma once

#include <cstddef>
#include <cstdint>

namespace zerostream {

// Writes the bytes back to memory and drops them from all caches of all cores. Threads: any.
void flush_from_caches(const std::byte* data, int64_t bytes);

}  // namespace zerostream
