#include "offload/resource_seconds.h"

#include <algorithm>

namespace zerostream {

const char* bound_name(Bound bound) {
  switch (bound) {
    case Bound::kFetch:
      return "fetch";
    case Bound::kCopy:
      return "copy";
    case Bound::kCompute:
      return "compute";
  }
  return "";
}

double ResourceSeconds::copy() const { return std::max({upload, download, gather}); }

double ResourceSeconds::most() const { return std::max({storage, copy(), compute}); }

Bound ResourceSeconds::bound() const {
  if (compute >= std::max(storage, copy())) return Bound::kCompute;
  return storage >= copy() ? Bound::kFetch : Bound::kCopy;
}

ResourceSeconds& ResourceSeconds::operator+=(const ResourceSeconds& other) {
  storage += other.storage;
  upload += other.upload;
  download += other.download;
  gather += other.gather;
  compute += other.compute;
  return *this;
}

ResourceSeconds ResourceSeconds::operator*(double factor) const {
  return {storage * factor, upload * factor, download * factor, gather * factor, compute * factor};
}

ResourceSeconds ResourceSeconds::operator-(const ResourceSeconds& other) const {
  ResourceSeconds difference = other * -1;
  return difference += *this;
}

}  // namespace zerostream
