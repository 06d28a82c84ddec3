// How fast bytes come to a device and back.
#pragma once

#include <string>
#include <vector>

#include "base/device.h"
#include "offload/selftest.h"

namespace zerostream {

// Copies within the device's memory (read and written bytes together) come first, then between it
// and pinned and pageable host memory. Takes what measure_copies() does.
std::vector<LinkRate> copy_rates(Device& device);

// From a scratch file of 64 MiB in `folder` to slots of the device, as weights go. Throws IoError.
LinkRate disk_to_device_rate(Device& device, const std::string& folder);

}  // namespace zerostream
