// Control of the emulated CUDA runtime, for tests.
//
// One device. Each stream is a thread of its own that takes its operations in order; a copy from
// pinned memory happens when its stream gets there. Kernels run thread by thread, see block.h.
//
// Where it is stricter than CUDA, so that mistakes show:
// - Waiting for, or asking about, an event that was never recorded fails (CUDA: passes).
// - Device memory starts as 0xff bytes, and every allocation of device or pinned memory ends at a
//   page that faults; with AddressSanitizer at the byte. Freed memory faults.
// - Host threads fault on device memory where the processor has protection keys.
// - Copies that leave their allocation, or whose kind does not fit their pointers, fail. So do
//   asynchronous copies of pageable memory while forbid_pageable_copies is set.
// - A CUDA call from a callback of a stream breaks the device; callbacks run one at a time, so that
//   who waits in one for another waits for ever.
// - Registered memory must not overlap. Copies do not go from one registration to the next.
// - What block.h lists fails the kernel; the device then refuses everything with
//   cudaErrorLaunchFailure until reset, and last_failure() says why.
#pragma once

#include <cstdint>
#include <string>

#include "tests/cuda_emulator/include/cuda_runtime.h"

namespace cuda_emulator {

struct Options {
  int devices = 1;
  int compute_capability = 80;
  uint64_t memory_bytes = uint64_t{1} << 30;
  uint64_t schedule_seed = 0;  // order of threads and blocks; 0: ascending
  int delay_us = 0;            // every operation of a stream waits for up to this long
  int copy_delay_us = 0;       // every copy of a stream takes this long, too
  int callback_delay_us = 0;   // and every callback
  bool forbid_pageable_copies = false;
  bool serial_callbacks = true;  // false: streams do not wait for each other's
};

struct Counters {
  int64_t launches = 0;
  int64_t host_synchronisations = 0;  // calls that block the host on the device
  int64_t allocations = 0;            // of device or pinned memory; registrations count
  int64_t copies = 0;
  int64_t copied_bytes = 0;
  int64_t pageable_copies = 0;  // asynchronous by name only
};

// To the state at start: no failures, counters 0, these options. Streams must be idle; memory that
// is still allocated stays.
void reset(const Options& options = {});

Counters counters();
// Calls of this thread that blocked it on the device, since it began.
int64_t own_host_synchronisations();
uint64_t allocated_bytes();
std::string last_failure();

// Lets the `nth` call of an API function from now on (1: the next) return `error` and do nothing.
void fail_call(const std::string& function, int nth, cudaError_t error);
// Lets the `nth` kernel from now on fail while it runs.
void fail_kernel(int nth, cudaError_t error = cudaErrorIllegalAddress);

}  // namespace cuda_emulator
