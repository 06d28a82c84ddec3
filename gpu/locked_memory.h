// Host memory that a GPU copies from and to by itself.
#pragma once

#include "base/buffer.h"

namespace zerostream {

// Memory is registered, and copied, in runs that end at addresses that are multiples of this:
// drivers refuse to register 512 GiB at once, and a copy must not cross two registrations.
inline constexpr int64_t kBorderBytes = int64_t{64} << 30;

// Of `bytes` from `data` on, those up to the next such address.
int64_t bytes_to_border(const void* data, int64_t bytes);

// The same memory, locked until it goes. `memory` begins at a page. Throws InfeasibleError if the
// system does not lock so much, DeviceError otherwise.
Buffer lock_memory(Buffer memory, int device);

}  // namespace zerostream
