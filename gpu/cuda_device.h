// An NVIDIA GPU and its memory as a device.
#pragma once

#include <string>

#include "base/device.h"
#include "base/device_module.h"

namespace zerostream {

// GPUs that can be used now; 0 without a driver.
int count_cuda_devices();
// Why the first cannot be used; empty where it can.
std::string why_no_cuda_device();

// Streams are CudaStreams, events CudaEvents. Streams never wait for each other but by events.
class CudaDevice : public Device {
 public:
  // `device`: its number among count_cuda_devices(). Throws DeviceError if there is none such, or
  // it is too old.
  explicit CudaDevice(int device = 0);

  DeviceKind kind() const override { return DeviceKind::kCuda; }
  std::string description() const override { return description_; }
  // Not zeroed. Throws InfeasibleError with the bytes asked and free when it is full.
  Buffer allocate(int64_t bytes) override;
  // Zeroed, locked, on huge pages where the host has them.
  Buffer allocate_pinned(int64_t bytes) override;
  bool shares_host_memory() const override { return false; }
  int64_t scratch_bytes() const override { return scratch_bytes_; }
  std::unique_ptr<Stream> make_compute_stream() override;
  std::unique_ptr<Stream> make_copy_stream() override;
  std::unique_ptr<Event> make_event() override;

  int number() const { return device_; }
  DeviceMemory memory() const;
  // What kernels hold of the device's memory.
  void set_scratch_bytes(int64_t bytes) { scratch_bytes_ = bytes; }

 private:
  void make_current() const;

  const int device_;
  std::string description_;
  int64_t scratch_bytes_ = 0;
};

}  // namespace zerostream
