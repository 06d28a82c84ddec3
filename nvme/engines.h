// The engines that make_io_engine() chooses from.
#pragma once

#include <memory>

#include "nvme/io_engine.h"

namespace zerostream {

// Each throws UsageError with the reason where this machine or this build lacks the engine.
std::unique_ptr<IoEngine> make_uring_engine(int capacity);
std::unique_ptr<IoEngine> make_libaio_engine(int capacity);
// Worker threads that call pread and pwrite; works everywhere.
std::unique_ptr<IoEngine> make_threads_engine(int capacity);

}  // namespace zerostream
