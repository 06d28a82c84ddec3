#include "offload/probe_links.h"

namespace zerostream {
namespace {

constexpr int64_t kBytes = int64_t{64} << 20;
constexpr int kCopiesAtOnce = 4;  // of each direction, so that their ends hardly count

struct CopyProbe {
  Stream& stream;
  const ProbeRounds& rounds;

  // `counted`: bytes that a copy stands for.
  Rate rate(const Buffer& target, const Buffer& source, int64_t counted = kBytes) const {
    return measure_rate(rounds, [&] {
      const auto copy = [&] { stream.copy(target.data(), source.data(), kBytes); };
      return static_cast<double>(counted) / seconds_per_call(stream, copy);
    });
  }
};

}  // namespace

CopyRates measure_copies(Device& device, const ProbeRounds& rounds) {
  const Buffer first = device.allocate(kBytes), second = device.allocate(kBytes);
  const Buffer sent = device.allocate_pinned(kBytes), received = device.allocate_pinned(kBytes);
  const Buffer pageable = allocate_host(kBytes);
  const std::unique_ptr<Stream> up = device.make_copy_stream(), down = device.make_copy_stream();
  const CopyProbe probe{*up, rounds};
  CopyRates rates;
  rates.within = probe.rate(second, first, 2 * kBytes);
  rates.to_device = probe.rate(first, sent);
  rates.from_device = probe.rate(received, first);
  rates.pageable_to_device = probe.rate(first, pageable);
  rates.pageable_from_device = probe.rate(pageable, first);
  rates.both_ways = measure_rate(rounds, [&] {
    const double seconds = time_of([&] {
      for (int i = 0; i < kCopiesAtOnce; ++i) {
        up->copy(first.data(), sent.data(), kBytes);
        down->copy(received.data(), second.data(), kBytes);
      }
      up->synchronize();
      down->synchronize();
    });
    return static_cast<double>(2 * kCopiesAtOnce * kBytes) / seconds;
  });
  return rates;
}

}  // namespace zerostream
