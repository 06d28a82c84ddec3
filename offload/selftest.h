// Whether a device computes what it should, and how fast.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "model/json.h"
#include "offload/backend.h"

namespace zerostream {

struct KernelCheck {
  std::string name = "";
  double error = 0;  // mean squared error over mean square, against plain loops
  double limit = 0;
  double seconds = 0;  // of one call
  bool large = false;  // timed at the size of a run; else the device is too slow for it
  double bytes_per_second = 0;
  double flops_per_second = 0;
  std::string problem = "";  // what was thrown; empty: nothing
  bool passed() const { return problem.empty() && error <= limit; }
};

struct LinkRate {
  std::string name = "";
  double bytes_per_second = 0;
};

struct SelftestResult {
  std::string device;
  double memory_rate = 0;      // bytes per second that the device's memory gave to copies within it
  double arithmetic_rate = 0;  // flops per second of the fastest product
  std::vector<KernelCheck> kernels;
  std::vector<LinkRate> links;
  bool passed() const;
};

struct SelftestOptions {
  std::string folder;                                          // on the disk that is to be read
  std::function<void(const std::string&)> progress = nullptr;  // told what comes next
};

// Every kernel of `subject` on small inputs beside `reference`, then its time at the size of a run,
// where a small one took no longer than a fraction of a millisecond; then copies between the
// memories, and the way of weights from disk to device. A kernel that throws has failed; the
// device's errors that leave nothing to test are thrown. Takes some 10 seconds, 64 MiB of disk and
// 300 MiB of both memories.
SelftestResult run_selftest(const Backend& subject, const Backend& reference,
                            const SelftestOptions& options);

Json selftest_json(const SelftestResult& result);
// A table, and the verdict in its last line.
std::string selftest_text(const SelftestResult& result);

}  // namespace zerostream
