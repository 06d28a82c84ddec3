#include "offload/selftest_links.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <filesystem>

#include "offload/probe_links.h"
#include "offload/store_files.h"
#include "prefetch/prefetcher.h"

namespace zerostream {
namespace {

constexpr int64_t kBytes = int64_t{64} << 20;
constexpr int64_t kSegment = int64_t{16} << 20;
constexpr ProbeRounds kRounds = {.least = 3, .most = 5, .seconds = 0.2};

}  // namespace

std::vector<LinkRate> copy_rates(Device& device) {
  const CopyRates rates = measure_copies(device, kRounds);
  return {{"within the device", rates.within.median},
          {"pinned to device", rates.to_device.median},
          {"pageable to device", rates.pageable_to_device.median},
          {"device to pinned", rates.from_device.median},
          {"device to pageable", rates.pageable_from_device.median},
          {"pinned, both ways at once", rates.both_ways.median}};
}

LinkRate disk_to_device_rate(Device& device, const std::string& folder) {
  const std::string path = path_in(folder, ".zerostream-selftest-" + std::to_string(getpid()));
  const Buffer content = allocate_host(kBytes);
  std::memset(content.data(), 1, static_cast<size_t>(kBytes));
  File file = File::open(path, {.write = true, .direct = true});
  std::filesystem::remove(path);
  write_fully(file, 0, content.data(), kBytes);
  Prefetcher prefetcher(device, {.ring_bytes = 2 * kSegment, .prefetch_depth = 1});
  const double seconds = time_of([&] {
    std::deque<FetchTicket> tickets;
    for (int64_t at = 0; at < kBytes; at += kSegment)
      tickets.push_back(
          prefetcher.submit({.file = &file, .offset = at, .bytes = kSegment, .name = "selftest"}));
    for (const FetchTicket& ticket : tickets) {
      ticket->wait();
      if (ticket->ready_event() != nullptr) ticket->ready_event()->wait();
      prefetcher.release(ticket);
    }
  });
  return {"disk to device", static_cast<double>(kBytes) / seconds};
}

}  // namespace zerostream
