// Figures that are measured several times.
#pragma once

#include <functional>

#include "base/device.h"
#include "offload/hardware_profile.h"

namespace zerostream {

// How often a figure is taken: `most` times, but after `least` times no more once that takes longer
// than `seconds`, and in any case no more once it takes four times as long.
struct ProbeRounds {
  int least = 3;
  int most = 5;
  double seconds = 0.25;
};

// Median and extremes of what `sample` returns, to four digits.
Rate measure_rate(const ProbeRounds& rounds, const std::function<double()>& sample);
double round_to_four_digits(double value);

// Seconds that `work` takes.
double time_of(const std::function<void()>& work);

// Seconds that a device takes for what one call of `enqueue` gives the stream: the mean of as many
// calls, 100 at most, as take some 20 ms, so that waiting for their end hardly counts.
double seconds_per_call(Stream& stream, const std::function<void()>& enqueue);

}  // namespace zerostream
