// The flags of commands that use a device without a run file.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "offload/run_config.h"

namespace zerostream {

struct DeviceFlags {
  std::string device = "auto";
  std::string module;

  RunConfig::Device config() const;
};

// Adds them to the command; `flags` must live as long as it.
void add_device_flags(CLI::App& command, DeviceFlags& flags);

}  // namespace zerostream
