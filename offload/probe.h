// This machine's rates, measured by using it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "nvme/io_engine.h"
#include "offload/backend.h"
#include "offload/hardware_profile.h"

namespace zerostream {

struct ProbeOptions {
  std::string folder;  // on the disk that is to be measured
  // Told what is measured next; may be empty.
  std::function<void(const std::string&)> progress = nullptr;
};

// The whole profile, each figure with its spread, in 20 to 30 seconds: reads of all engines and
// block sizes, writes, memory, products of all kinds of weights that the backend has for 1 to 2,048
// rows, attention; of a device with memory of its own also copies, that memory, products with
// weights in rows, and attention over prompts. Takes 1 GiB of disk, 200 MiB of memory and 400 MiB
// of such a device's. What runs beside it spoils the figures. Throws IoError and the device's
// errors.
HardwareProfile probe_hardware(const Backend& backend, const ProbeOptions& options);

struct QuickProbeOptions {
  std::string path;  // file that a run will read (a store's weights), or folder on the same disk
  IoEngineKind engine = IoEngineKind::kAuto;
  DType weights = DType::kBF16;
  bool int8_activations = false;
  bool all_weights = false;  // products of all kinds, for plans of other weights than these
};

// The few figures that the automatic settings of a run need, in 1 to 2 seconds and 75 MiB of
// memory (2 to 4 with all_weights): one way of reading, and products of one kind for 1, 32 and 256
// rows; where the backend lacks the kind, of its bf16 weights. Of a device with memory of its own
// also what probe_hardware() takes of it, products for 2,048 rows included, with as much memory.
// Throws as above, and UsageError where this machine lacks the engine.
HardwareProfile quick_profile(const Backend& backend, const QuickProbeOptions& options);

// quick_profile(), or what an earlier run kept of it in `cache_folder`/hardware for the same
// processor and threads, disk, engine and kinds of weights, unless that is older than 30 days or
// cannot be read. That the profile cannot be kept is no error.
HardwareProfile load_profile_or_measure(const std::string& cache_folder, const Backend& backend,
                                        const QuickProbeOptions& options);

// All figures as a table for people.
std::string probe_table(const HardwareProfile& profile);

}  // namespace zerostream
