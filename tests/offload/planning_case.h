// Models and machines for tests of the cost model, the simulator and the planner.
#pragma once

#include <random>
#include <string>

#include "offload/hardware_profile.h"
#include "offload/planned_layout.h"

namespace zerostream {

// A file of the project's configs/ folder.
std::string config_path(const std::string& name);

// The layout of configs/models/NAME or configs/bench/NAME, of which there is a config.json only.
ModelLayout shape_layout(const std::string& name, const PackOptions& options = {});

// A CPU with round figures: 2 GB/s of storage, 1e12 flops per second from 64 rows on (less in
// proportion for fewer), 20 GB/s for everything else.
HardwareProfile plain_cpu();
// The same numbers behind a link of 10 GB/s, 8 GiB of device memory.
HardwareProfile plain_cuda();

// A few layers of small segments, some of them cut into pieces.
ModelLayout random_layout(std::mt19937& random);

}  // namespace zerostream
