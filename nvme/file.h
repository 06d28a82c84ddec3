// Open files.
#pragma once

#include <cstdint>
#include <string>

namespace zerostream {

// An open file descriptor with its path. Movable; closes itself.
// Errors: IoError with path and errno.
class File {
 public:
  struct OpenOptions {
    bool write = false;   // create if absent, keep what is there
    bool direct = false;  // O_DIRECT: tried with a real read; where it is refused, buffered, and
                          // why_not_direct() says why
  };
  File() = default;
  static File open(const std::string& path, OpenOptions options);
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  ~File();

  int fd() const { return fd_; }
  const std::string& path() const { return path_; }
  int64_t size() const;  // now, from fstat
  bool direct() const { return direct_; }
  // What offsets, sizes and memory of direct requests must be multiples of (statx, else 4096); 1
  // when buffered.
  int64_t alignment() const { return alignment_; }
  const std::string& why_not_direct() const { return why_not_direct_; }
  void allocate(int64_t bytes)
      const;  // reserves disk space (posix_fallocate); IoError ENOSPC when there is not enough
  void sync() const;        // fsync
  void drop_cache() const;  // POSIX_FADV_DONTNEED, best effort

 private:
  int fd_ = -1;
  std::string path_;
  bool direct_ = false;
  int64_t alignment_ = 1;
  std::string why_not_direct_;
};

}  // namespace zerostream
