// Where the segments of a model rest.
#pragma once

#include <cstdint>

namespace zerostream {

enum class PlacementKind : uint8_t {
  kAuto,  // resident as far as memory allows, all of it or nothing
  kHost,  // everything resident in host memory
  kNvme,  // everything streams from the store at every pass
};

struct Placement {
  PlacementKind kind = PlacementKind::kAuto;
};

}  // namespace zerostream
