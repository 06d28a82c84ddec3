// What a shared object offers that brings a device: the border at which it is loaded.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/device.h"
#include "base/kernel_limits.h"
#include "base/kernels.h"

namespace zerostream {

// Raised with every change of what crosses the border: this header, base/device.h, base/kernels.h
// and what these include.
inline constexpr int32_t kDeviceModuleVersion = 2;

struct DeviceMemory {
  int64_t free = 0;
  int64_t total = 0;
};

// The first two members keep their place in all versions; the others may be used only where both
// are the loader's own. What comes from a module needs it until the end: it is never unloaded.
//
// Threads: any. Errors: thrown, of zerostream/error.h; why_unusable() throws nothing.
struct DeviceModule {
  int32_t version = kDeviceModuleVersion;
  const char* release = "";  // of the project
  // Why this machine has no such device ("cudaErrorNoDevice (...)"); empty: it has one.
  std::string (*why_unusable)() = nullptr;
  std::unique_ptr<Device> (*make_device)() = nullptr;
  // `device` is the module's own and outlives them. Its scratch_bytes() then count what the kernels
  // hold.
  std::unique_ptr<Kernels> (*make_kernels)(Device& device, const KernelLimits& limits) = nullptr;
  DeviceMemory (*memory)(const Device& device) = nullptr;
};

// Name and type of the module's one symbol.
inline constexpr const char* kDeviceModuleEntry = "zerostream_device_module";
using DeviceModuleEntry = const DeviceModule*();

}  // namespace zerostream
