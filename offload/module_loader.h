// Finds and loads the modules that bring devices.
#pragma once

#include <string>

#include "base/device_module.h"

namespace zerostream {

// Loads `path`, or, if that is empty, the file `name` from the folder of this program or library,
// from ../lib and its like beside it, or from where the system looks for libraries. It stays loaded
// until the end of the process.
//
// Throws DeviceError that says where it looked and what was wrong in each place, also for a module
// of another version.
const DeviceModule& load_device_module(const std::string& path, const std::string& name);

}  // namespace zerostream
