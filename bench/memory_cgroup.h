// A memory limit for the running program, page cache counted.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace zerostream {

// Makes a cgroup (v1 or v2) with a limit and moves this process into it; leaves and removes it when
// it goes. Needs root or a delegated cgroup.
class MemoryCgroup {
 public:
  // Null, with the reason in `why`, where the system refuses.
  static std::optional<MemoryCgroup> enter(int64_t limit_bytes, std::string* why);
  MemoryCgroup(MemoryCgroup&& other) noexcept;
  MemoryCgroup& operator=(MemoryCgroup&&) = delete;
  ~MemoryCgroup();

  int64_t peak_bytes() const;        // most that was ever charged, page cache included
  int64_t page_cache_bytes() const;  // charged now
 private:
  MemoryCgroup(std::string path, std::string parent, bool v2);
  std::string path_, parent_;
  bool v2_ = false;
};

// Bytes that this process caused to be read from disks, as the kernel counts (/proc/self/io).
int64_t kernel_read_bytes();

}  // namespace zerostream
