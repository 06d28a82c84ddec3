#include "offload/selftest_links.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <filesystem>

#include "offload/probe_samples.h"
#include "offload/store_files.h"
#include "prefetch/prefetcher.h"

namespace zerostream {
namespace {

constexpr int64_t kBytes = int64_t{64} << 20;
constexpr int64_t kSegment = int64_t{16} << 20;
constexpr ProbeRounds kRounds = {.least = 3, .most = 5, .seconds = 0.2};

LinkRate copy_rate(Stream& stream, const std::string& name, void* target, const void* source,
                   double counted) {
  const Rate rate = measure_rate(kRounds, [&] {
    return counted / time_of([&] {
             stream.copy(target, source, kBytes);
             stream.synchronize();
           });
  });
  return {name, rate.median};
}

}  // namespace

std::vector<LinkRate> copy_rates(Device& device) {
  const Buffer first = device.allocate(kBytes), second = device.allocate(kBytes);
  const Buffer pinned = device.allocate_pinned(kBytes), pageable = allocate_host(kBytes);
  const std::unique_ptr<Stream> stream = device.make_copy_stream();
  const auto bytes = static_cast<double>(kBytes);
  std::vector<LinkRate> rates;
  rates.push_back(copy_rate(*stream, "within the device", second.data(), first.data(), 2 * bytes));
  rates.push_back(copy_rate(*stream, "pinned to device", first.data(), pinned.data(), bytes));
  rates.push_back(copy_rate(*stream, "pageable to device", first.data(), pageable.data(), bytes));
  rates.push_back(copy_rate(*stream, "device to pinned", pinned.data(), first.data(), bytes));
  rates.push_back(copy_rate(*stream, "device to pageable", pageable.data(), first.data(), bytes));
  return rates;
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
