#include "cli/device_flags.h"

namespace zerostream {

RunConfig::Device DeviceFlags::config() const {
  RunConfig::Device config;
  config.module = module;
  if (device == "cpu") config.type = DeviceKind::kCpu;
  if (device == "cuda") config.type = DeviceKind::kCuda;
  return config;
}

void add_device_flags(CLI::App& command, DeviceFlags& flags) {
  command.add_option("--device", flags.device, "auto, cpu or cuda")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}));
  command.add_option("--module", flags.module, "As device.module of a run file");
}

}  // namespace zerostream
