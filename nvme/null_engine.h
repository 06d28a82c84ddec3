// An engine without a disk.
#pragma once

#include <memory>

#include "nvme/io_engine.h"

namespace zerostream {

// Completes every request at once and in full, and moves no bytes: what is left is the cost of
// everything above the engine.
std::unique_ptr<IoEngine> make_null_engine(int capacity);

}  // namespace zerostream
