// The ceiling of reading a file.
#pragma once

#include <cstddef>
#include <cstdint>

namespace zerostream {

// Seconds that it takes to read the first `bytes` of a direct file with nothing but io_uring:
// `depth` reads of `block` bytes in flight into `memory`, which has room for them. Nothing is
// looked at, nothing is split, nobody waits for anything else. Throws IoError.
struct PlainRead {
  int fd = -1;
  int64_t bytes = 0;  // a multiple of block
  int64_t block = int64_t{4} << 20;
  int depth = 8;
};
double plain_uring_seconds(const PlainRead& read, std::byte* memory);

}  // namespace zerostream
