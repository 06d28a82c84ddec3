// Placements as run files write them.
#pragma once

#include "model/json.h"
#include "offload/placement.h"

namespace zerostream {

// "auto", "device", "host", "nvme", or an object of shares: {device: 10%, host: 4GiB, nvme: rest}.
// Throws BadValue (json_values.h).
Placement read_placement(const Json& value);
Json placement_json(const Placement& placement);

}  // namespace zerostream
