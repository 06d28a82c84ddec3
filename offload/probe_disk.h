// How fast a disk reads and writes for a run.
#pragma once

#include <functional>
#include <string>

#include "nvme/io_engine.h"
#include "offload/hardware_profile.h"

namespace zerostream {

// Every engine that this machine has with blocks of 256 KiB, 1 MiB and 4 MiB, direct and through
// the page cache (emptied before), on a scratch file in `folder` of at most 1 GiB; `read` is the
// best engine with direct blocks of 4 MiB. Takes some ten seconds and 128 MiB. `progress` (may be
// empty) is told what comes next. Throws IoError.
HardwareProfile::Storage probe_storage(const std::string& folder,
                                       const std::function<void(const std::string&)>& progress);

// One engine with blocks of 4 MiB, direct where the disk allows it, in about half a second and 64
// MiB. Reads `path` if it is a file of 64 MiB or more, else a scratch file in its folder, or in
// `path` if that is the folder. `write` stays 0 where no file can be made there. Throws IoError;
// UsageError where this machine lacks the engine.
HardwareProfile::Storage quick_storage(const std::string& path, IoEngineKind engine);

}  // namespace zerostream
