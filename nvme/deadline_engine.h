// An engine that does not wait for ever.
#pragma once

#include <memory>

#include "nvme/io_engine.h"

namespace zerostream {

// Wraps an engine. Once a request has been in flight for `seconds`, the engine counts as broken:
// reap() and submit() throw IoError ETIMEDOUT with file, offset and bytes, from then on.
//
// Destruction of a broken engine does not wait for what is in flight; a thread that nobody waits
// for does. Should the disk answer after all, the memory of those requests is written: who goes on
// after such an error neither reads nor reuses it.
//
// Throws IoError when the system has no more descriptors.
std::unique_ptr<IoEngine> make_deadline_engine(std::unique_ptr<IoEngine> engine, double seconds);

}  // namespace zerostream
