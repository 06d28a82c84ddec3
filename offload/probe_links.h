// How fast bytes move between a device's memory and the host's.
#pragma once

#include "base/device.h"
#include "offload/hardware_profile.h"
#include "offload/probe_samples.h"

namespace zerostream {

// Bytes per second of copies, one at a time where nothing else is said.
struct CopyRates {
  Rate within;                  // in the device's memory; read and written bytes together
  Rate to_device, from_device;  // of pinned memory
  Rate pageable_to_device, pageable_from_device;
  Rate both_ways;  // of pinned memory, in both directions together while both copy
};

// Takes 128 MiB of the device's memory and 192 MiB of the host's. Throws the device's errors.
CopyRates measure_copies(Device& device, const ProbeRounds& rounds);

}  // namespace zerostream
