// fault_soak SECONDS [FIRST_SEED]: schedules of faults, one after the other, with the memory of the
// process every so often. Ends with 1 at the first that goes wrong, or if memory grew.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <vector>

#include "offload/memory_limit.h"
#include "tests/faults/fault_run.h"

namespace {

using Clock = std::chrono::steady_clock;

double mebibytes(int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// Whether the last quarter of the samples is larger than the second, by more than chance.
bool grows(const std::vector<int64_t>& samples) {
  const size_t quarter = samples.size() / 4;
  if (quarter < 2) return false;
  const auto sum = [&](size_t begin) {
    return std::accumulate(samples.begin() + begin, samples.begin() + begin + quarter, int64_t{0});
  };
  const int64_t before = sum(quarter), after = sum(samples.size() - quarter);
  return after > before + before / 10 + static_cast<int64_t>(quarter) * (int64_t{4} << 20);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: fault_soak SECONDS [FIRST_SEED]\n");
    return 2;
  }
  const double seconds = std::atof(argv[1]);
  const uint64_t first = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 0;
  zerostream::TinyJob job;
  const Clock::time_point begin = Clock::now();
  uint64_t schedules = 0, failed = 0;
  double told = 0;
  std::vector<int64_t> samples;
  while (seconds_since(begin) < seconds) {
    const zerostream::ScheduleResult result = zerostream::run_schedule(job, first + schedules++);
    if (!result.problem.empty()) {
      std::printf("%s\n", result.problem.c_str());
      return 1;
    }
    failed += result.failed ? 1 : 0;
    if (seconds_since(begin) - told < seconds / 20) continue;
    told = seconds_since(begin);
    std::printf("%6.0f s: %llu schedules, %llu with an error; memory %.1f MiB, at most %.1f MiB\n",
                told, static_cast<unsigned long long>(schedules),
                static_cast<unsigned long long>(failed),
                mebibytes(samples.emplace_back(zerostream::measure_host_memory().held)),
                mebibytes(zerostream::peak_resident_bytes()));
    std::fflush(stdout);
  }
  if (!grows(samples)) return 0;
  std::printf("memory grows\n");
  return 1;
}
