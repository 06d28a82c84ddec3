#include "offload/selftest.h"

#include <algorithm>
#include <cmath>

#include "base/printf_text.h"
#include "offload/probe_samples.h"
#include "offload/selftest_cases.h"
#include "offload/selftest_links.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr double kQuickSeconds = 3e-4;  // of a small case where a large one is worth its time
constexpr double kLeastPower = 1e-30;   // so that nothing is divided by 0

// Mean squared error over mean square; infinite where one is no number.
double normalised_error(const std::vector<float>& actual, const std::vector<float>& expected) {
  double error = 0, power = kLeastPower;
  for (size_t i = 0; i < expected.size(); ++i) {
    error += std::pow(static_cast<double>(actual[i]) - expected[i], 2);
    power += std::pow(static_cast<double>(expected[i]), 2);
  }
  return std::isfinite(error) ? error / power : INFINITY;
}

void note_time(const KernelWork& work, double seconds, KernelCheck& check) {
  check.seconds = seconds;
  check.bytes_per_second = work.bytes / seconds;
  check.flops_per_second = work.flops / seconds;
}

void time_large(KernelBench& bench, const KernelCase& kernel, KernelCheck& check) {
  const KernelWork work = kernel.make(bench, true);
  note_time(work, seconds_per_call(bench.stream(), work.enqueue), check);
  check.large = true;
}

// `check`: gets the time; null: nobody wants it. Of a second call: the first brings the kernel to
// the device.
std::vector<float> compute(KernelBench& bench, const KernelCase& kernel, KernelCheck* check) {
  const KernelWork work = kernel.make(bench, false);
  const auto run = [&] {
    work.enqueue();
    bench.stream().synchronize();
  };
  run();
  const std::vector<float> result = work.result();
  if (check != nullptr) note_time(work, time_of(run), *check);
  return result;
}

KernelCheck check_kernel(KernelBench& subject, KernelBench& reference, const KernelCase& kernel) {
  KernelCheck check{.name = kernel.name, .limit = kernel.limit};
  try {
    check.error =
        normalised_error(compute(subject, kernel, &check), compute(reference, kernel, nullptr));
    if (check.seconds < kQuickSeconds) time_large(subject, kernel, check);
  } catch (const Error& error) {
    check.problem = error.what();
  }
  subject.clear();
  reference.clear();
  return check;
}

}  // namespace

bool SelftestResult::passed() const {
  return std::all_of(kernels.begin(), kernels.end(),
                     [](const KernelCheck& check) { return check.passed(); });
}

SelftestResult run_selftest(const Backend& subject, const Backend& reference,
                            const SelftestOptions& options) {
  const auto tell = [&](const std::string& what) {
    if (options.progress) options.progress(what);
  };
  SelftestResult result;
  result.device = subject.device->description();
  KernelBench tested(*subject.device, *subject.kernels);
  KernelBench plain(*reference.device, *reference.kernels);
  for (const KernelCase& kernel : kernel_cases()) {
    tell(kernel.name);
    result.kernels.push_back(check_kernel(tested, plain, kernel));
  }
  for (const KernelCheck& check : result.kernels)
    result.arithmetic_rate = std::max(result.arithmetic_rate, check.flops_per_second);
  tell("copies");
  result.links = copy_rates(*subject.device);
  result.memory_rate = result.links.front().bytes_per_second;
  tell("disk to device");
  result.links.push_back(disk_to_device_rate(*subject.device, options.folder));
  return result;
}

Json selftest_json(const SelftestResult& result) {
  Json kernels = Json::array(), links = Json::object();
  for (const KernelCheck& check : result.kernels)
    kernels.push_back({{"name", check.name},
                       {"passed", check.passed()},
                       {"error", check.problem.empty() ? Json(check.error) : Json()},
                       {"limit", check.limit},
                       {"problem", check.problem},
                       {"seconds", check.seconds},
                       {"size", check.large ? "large" : "small"},
                       {"bytes_per_second", check.bytes_per_second},
                       {"flops_per_second", check.flops_per_second},
                       {"share_of_memory", check.bytes_per_second / result.memory_rate},
                       {"share_of_arithmetic", check.flops_per_second / result.arithmetic_rate}});
  for (const LinkRate& link : result.links) links[link.name] = link.bytes_per_second;
  return {{"device", result.device},
          {"passed", result.passed()},
          {"kernels", kernels},
          {"bytes_per_second", links}};
}

std::string selftest_text(const SelftestResult& result) {
  std::string text = printf_line("%s", result.device.c_str());
  text += printf_line("%-34s %-6s %10s %10s %9s %7s %10s %7s", "kernel", "", "error", "us", "GB/s",
                      "of copy", "GFLOP/s", "of best");
  int failed = 0;
  for (const KernelCheck& check : result.kernels) {
    failed += check.passed() ? 0 : 1;
    text += printf_line(
        "%-34s %-6s %10.2g %10.4g %9.3g %6.0f%% %10.4g %6.0f%%%s", check.name.c_str(),
        check.passed() ? "ok" : "FAILED", check.error, 1e6 * check.seconds,
        1e-9 * check.bytes_per_second, 100 * check.bytes_per_second / result.memory_rate,
        1e-9 * check.flops_per_second, 100 * check.flops_per_second / result.arithmetic_rate,
        check.large ? "" : "  small");
    if (!check.problem.empty()) text += printf_line("    %s", check.problem.c_str());
  }
  for (const LinkRate& link : result.links)
    text += printf_line("%-34s %9.3g GB/s", link.name.c_str(), 1e-9 * link.bytes_per_second);
  if (failed == 0)
    return text + printf_line("verdict: good; all %zu kernels agree with plain loops",
                              result.kernels.size());
  return text + printf_line("verdict: BAD; %d of %zu kernels do not agree with plain loops", failed,
                            result.kernels.size());
}

}  // namespace zerostream
