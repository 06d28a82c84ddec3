#include "cpu/cpu_device.h"

#include <sched.h>

#include <algorithm>

#include "cpu/cpu_stream.h"
#include "cpu/linear.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr int64_t kScratchBytesPerWorker = kLinearScratchBytes;

int cores_of_this_process() {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof(set), &set) == 0 ? std::max(1, CPU_COUNT(&set)) : 1;
}

}  // namespace

CpuDevice::CpuDevice(const CpuDeviceOptions& options)
    : isa_(std::min(detect_cpu_isa(), options.max_isa)),
      threads_(options.threads == 0 ? cores_of_this_process() : options.threads) {
  if (threads_ < 0)
    throw UsageError("threads must not be negative, got " + std::to_string(threads_));
}

std::string CpuDevice::description() const {
  return cpu_brand() + ", " + std::string(cpu_isa_name(isa_)) + ", " + std::to_string(threads_) +
         (threads_ == 1 ? " thread" : " threads");
}

int64_t CpuDevice::scratch_bytes() const {
  return threads_ * kScratchBytesPerWorker + kLinearSharedScratchBytes;
}

std::unique_ptr<Stream> CpuDevice::make_compute_stream() {
  return std::make_unique<CpuStream>(
      CpuStreamOptions{.name = "zs-compute",
                       .workers = threads_,
                       .isa = isa_,
                       .scratch_bytes = kScratchBytesPerWorker,
                       .shared_scratch_bytes = kLinearSharedScratchBytes});
}

std::unique_ptr<Stream> CpuDevice::make_copy_stream() {
  return std::make_unique<CpuStream>(CpuStreamOptions{.name = "zs-copy", .isa = isa_});
}

std::unique_ptr<Event> CpuDevice::make_event() { return std::make_unique<CpuEvent>(); }

}  // namespace zerostream
