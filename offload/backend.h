// Where backends are chosen: the only place that names one.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/device.h"
#include "base/kernel_limits.h"
#include "base/kernels.h"
#include "offload/model_layout.h"
#include "offload/run_config.h"

namespace zerostream {

// A device and the kernels for it; the device goes last.
struct Backend {
  std::unique_ptr<Device> device;
  std::unique_ptr<Kernels> kernels;
  int64_t free_bytes = 0;  // of a device with memory of its own: what it could give when made
  KernelLimits limits = {};
  int32_t threads = 0;  // workers on the processor; 0: a device of another kind
};

// What kernels must be made for to run a model.
KernelLimits kernel_limits(const RunConfig::Device& config, const ModelLayout& layout);

// Without a device.type: a GPU where one can be used and has what the config asks for, else the
// CPU. Throws DeviceError where this machine cannot run it, and says where it looked for what is
// missing.
Backend make_backend(const RunConfig::Device& config, const KernelLimits& limits);

// Plain loops on the processor: slow, and right.
Backend make_reference_backend();

// The processor in one line. Throws DeviceError that names what it lacks.
std::string describe_processor();

// The GPU that cuda runs would use, in one line. Throws DeviceError that says what is missing, and
// where it was looked for. `module`: as device.module of the run file.
std::string describe_gpu(const std::string& module);

// Drops host memory from the processor's caches, so that what is measured next comes from memory.
void flush_host_caches(const std::byte* data, int64_t bytes);

}  // namespace zerostream
