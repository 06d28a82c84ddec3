#include "offload/probe_samples.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <vector>

namespace zerostream {
namespace {

constexpr double kTrustedSeconds = 0.02;
constexpr double kMostCalls = 100;

}  // namespace

Rate measure_rate(const ProbeRounds& rounds, const std::function<double()>& sample) {
  std::vector<double> values;
  double spent = 0;
  const auto more = [&] {
    const int count = static_cast<int>(values.size());
    if (count == 0) return true;
    if (count >= rounds.most || spent > 4 * rounds.seconds) return false;
    return count < rounds.least || spent < rounds.seconds;
  };
  while (more()) spent += time_of([&] { values.push_back(sample()); });
  std::sort(values.begin(), values.end());
  const double median = (values[(values.size() - 1) / 2] + values[values.size() / 2]) / 2;
  return {.median = round_to_four_digits(median),
          .low = round_to_four_digits(values.front()),
          .high = round_to_four_digits(values.back())};
}

double round_to_four_digits(double value) {
  if (value == 0) return 0;
  const int digits = 3 - static_cast<int>(std::floor(std::log10(std::abs(value))));
  if (digits < 0) {
    const double unit = std::pow(10.0, -digits);
    return std::round(value / unit) * unit;
  }
  const double scale = std::pow(10.0, digits);
  return std::round(value * scale) / scale;
}

double time_of(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double seconds_per_call(Stream& stream, const std::function<void()>& enqueue) {
  const auto seconds_of = [&](int calls) {
    return time_of([&] {
      for (int i = 0; i < calls; ++i) enqueue();
      stream.synchronize();
    });
  };
  const double once = seconds_of(1);
  const int calls = static_cast<int>(std::min(kMostCalls, kTrustedSeconds / once));
  return calls <= 1 ? once : seconds_of(calls) / calls;
}

}  // namespace zerostream
