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
  double full_probability = 0;         // a write fails with ENOSPC
  double flip_probability = 0;         // one bit of what a read brings is wrong
  double lost_probability = 0;         // never completes; nothing waits for it in the end
  int64_t bad_offset = -1;             // requests that cover this byte of a file fail with EIO
  int bad_times = -1;                  // so many times, then they work; -1: always
  int refused_submission = -1;         // the n-th submit() throws, and all later ones; -1: none
  // Requests are cut short at multiples of this, as the kernel does for direct files; 1 for
  // buffered ones.
  int64_t granularity = 512;
};

// Wraps an engine: requests that are to fail or to be lost move no bytes, short ones move fewer.
std::unique_ptr<IoEngine> make_faulty_engine(std::unique_ptr<IoEngine> engine, FaultOptions faults);

}  // namespace zerostream
