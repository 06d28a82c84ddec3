// How long each resource of a machine works, and which of them is the limit.
#pragma once

#include <cstdint>

namespace zerostream {

enum class Bound : uint8_t { kFetch, kCopy, kCompute };
const char* bound_name(Bound bound);  // "fetch", "copy", "compute"

// Busy seconds of each resource. Uploads and downloads are between host memory and the device.
struct ResourceSeconds {
  double storage = 0, upload = 0, download = 0, gather = 0, compute = 0;

  double copy() const;  // the busiest of upload, download and gather
  double most() const;
  Bound bound() const;
  ResourceSeconds& operator+=(const ResourceSeconds& other);
  ResourceSeconds operator-(const ResourceSeconds& other) const;
  ResourceSeconds operator*(double factor) const;
};

}  // namespace zerostream
