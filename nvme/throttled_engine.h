// An engine that is slower than its disk.
#pragma once

#include <cstdint>
#include <memory>

#include "nvme/io_engine.h"

namespace zerostream {

struct ThrottleOptions {
  double bytes_per_second = 0;  // of all requests together; 0: no limit
  int64_t jitter_us = 0;        // each completion is held for up to this long more, out of order
  uint64_t seed = 0;            // of the jitter
};

// Wraps an engine and holds its completions back. With the null engine: a link of a given rate.
// Throws IoError when the system has no more descriptors.
std::unique_ptr<IoEngine> make_throttled_engine(std::unique_ptr<IoEngine> engine,
                                                ThrottleOptions options);

}  // namespace zerostream
