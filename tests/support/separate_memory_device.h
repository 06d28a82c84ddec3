// A GPU's view of memory without a GPU.
#pragma once

#include "cpu/cpu_device.h"

namespace zerostream {

// A device whose memory reads may not land in, and writes not leave from, though in truth they
// could.
class SeparateMemoryDevice : public CpuDevice {
 public:
  SeparateMemoryDevice() : CpuDevice({.threads = 1}) {}
  bool shares_host_memory() const override { return false; }
};

}  // namespace zerostream
