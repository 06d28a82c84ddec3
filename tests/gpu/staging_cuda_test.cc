// The way of segments to a GPU, on the emulated runtime.
#include <gtest/gtest.h>

#include <chrono>
#include <vector>

#include "gpu/cuda_device.h"
#include "prefetch/prefetcher.h"
#include "tests/cuda_emulator/emulator.h"

namespace zerostream {
namespace {

// On a GPU a callback takes its time, and its stream stands still for it.
TEST(CudaStaging, CopiesDoNotWaitForCallbacks) {
  constexpr int64_t kBytes = 1 << 16;
  constexpr int kFetches = 4, kCallbackMilliseconds = 200;
  cuda_emulator::reset({.callback_delay_us = 1000 * kCallbackMilliseconds});
  {
    CudaDevice device;
    const Buffer source = device.allocate_pinned(kFetches * kBytes);
    Prefetcher prefetcher(device, {.ring_bytes = kFetches * kBytes, .prefetch_depth = kFetches});
    std::vector<FetchTicket> tickets;
    for (int i = 0; i < kFetches; ++i)
      tickets.push_back(prefetcher.submit({.bytes = kBytes, .source = source.data() + i * kBytes}));
    const auto begin = std::chrono::steady_clock::now();
    for (const FetchTicket& ticket : tickets) {
      ticket->wait();
      ticket->ready_event()->wait();
    }
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begin;
    EXPECT_LT(passed.count(), 1e-3 * kCallbackMilliseconds * (kFetches - 2));
    for (const FetchTicket& ticket : tickets) prefetcher.release(ticket);
  }
  cuda_emulator::reset();
}

}  // namespace
}  // namespace zerostream
