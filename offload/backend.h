// Where backends are chosen: the only place that names one.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/device.h"
#include "base/kernels.h"
#include "offload/run_config.h"

namespace zerostream {

// A device and the kernels for it; the device goes last.
struct Backend {
  std::unique_ptr<Device> device;
  std::unique_ptr<Kernels> kernels;
};

// `max_vocabulary`: most logits of a row. Throws DeviceError where this machine cannot run it.
Backend make_backend(const RunConfig::Device& config, int64_t max_vocabulary);

// The processor in one line. Throws DeviceError that names what it lacks.
std::string describe_processor();

// Drops host memory from the processor's caches, so that what is measured next comes from memory.
void flush_host_caches(const std::byte* data, int64_t bytes);

}  // namespace zerostream
