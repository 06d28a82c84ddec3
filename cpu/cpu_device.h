// The processor and its memory as a device.
#pragma once

#include "base/device.h"
#include "cpu/cpu_isa.h"

namespace zerostream {

struct CpuDeviceOptions {
  // Workers that share each operation; 0: one per core that this process may run on.
  int threads = 0;
  // The highest instruction set to use. For tests and comparisons.
  CpuIsa max_isa = CpuIsa::kAmx;
};

// Device memory is host memory: copies are plain copies and reads may land in a slot. Work on its
// compute stream runs on `threads` workers, each copy stream on a thread of its own; all streams
// are CpuStreams, all events CpuEvents.
class CpuDevice : public Device {
 public:
  // Throws DeviceError that names what the processor lacks; UsageError for negative `threads`.
  explicit CpuDevice(const CpuDeviceOptions& options = {});

  DeviceKind kind() const override { return DeviceKind::kCpu; }
  std::string description() const override;
  // Pages become resident when they are first touched: pools are planned for the most that rows may
  // need.
  Buffer allocate(int64_t bytes) override { return allocate_host(bytes, Residency::kOnTouch); }
  Buffer allocate_pinned(int64_t bytes) override { return allocate_host(bytes); }
  bool shares_host_memory() const override { return true; }
  int64_t scratch_bytes() const override;
  std::unique_ptr<Stream> make_compute_stream() override;
  std::unique_ptr<Stream> make_copy_stream() override;
  std::unique_ptr<Event> make_event() override;

  CpuIsa isa() const { return isa_; }
  int threads() const { return threads_; }

 private:
  CpuIsa isa_;
  int threads_;
};

}  // namespace zerostream
