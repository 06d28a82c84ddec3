// How much memory this process may take.
#pragma once

#include <cstdint>
#include <string>

namespace zerostream {

// All in bytes.
struct HostMemory {
  int64_t available = 0;  // that the system could give, what this process holds included
  int64_t limit = 0;      // the tightest of the memory cgroups above this process, less what others
                          // in it hold; `available` where there is none
  int64_t held = 0;       // by this process: its resident set
  // For pools: the smaller of both, less what the process holds and 5 %.
  int64_t usable() const;
};

// Reads /proc and cgroups v1 and v2, all levels. Page cache that the kernel can drop is not counted
// as held. `root` stands for "/" (tests). Throws IoError where /proc cannot be read.
HostMemory measure_host_memory(const std::string& root = "/");

// The most that this process ever held, in bytes.
int64_t peak_resident_bytes();

}  // namespace zerostream
