// An engine whose requests go wrong, for tests.
#pragma once

#include <cstdint>
#include <memory>

#include "nvme/io_engine.h"

namespace zerostream {

// Probabilities are per request; what happens is a function of the seed and the order of requests.
struct FaultOptions {
  uint64_t seed = 0;
  double short_probability = 0;        // moves only the first part of the bytes
  double interrupted_probability = 0;  // fails with EINTR
  double again_probability = 0;        // fails with EAGAIN
  double broken_probability = 0;       // fails with EIO
  int64_t bad_offset = -1;             // requests that cover this byte of a file fail with EIO
  int bad_times = -1;                  // so many times, then they work; -1: always
  // Requests are cut short at multiples of this, as the kernel does for direct files; 1 for
  // buffered ones.
  int64_t granularity = 512;
};

// Wraps an engine: requests that are to fail move no bytes, short ones move fewer.
std::unique_ptr<IoEngine> make_faulty_engine(std::unique_ptr<IoEngine> engine, FaultOptions faults);

}  // namespace zerostream
