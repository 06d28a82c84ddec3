// File calls that go wrong.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace zerostream {

// Probabilities are per call; what happens is a function of the seed and the order of calls.
struct FileFaults {
  std::string folder;  // calls for files in it, and below, may go wrong
  uint64_t seed = 0;
  double short_probability = 0;        // a buffered read or write moves fewer bytes
  double interrupted_probability = 0;  // a read or write fails with EINTR
  double broken_probability = 0;       // any call fails with EIO
  double descriptors_probability = 0;  // opening fails with EMFILE
  int64_t space = -1;                  // bytes that may be written, then ENOSPC; -1: any
  int64_t kill_at = -1;                // the process ends by SIGKILL at the n-th call; -1: does not
};

// While one lives, calls of open, read, write, pread, pwrite, writev, fsync, ftruncate, rename and
// posix_fallocate in this program, and in the libraries that it loads, go through it. One at a
// time. What io_uring and libaio do does not pass here (nvme/faulty_engine.h).
class FaultyFiles {
 public:
  explicit FaultyFiles(FileFaults faults);
  ~FaultyFiles();
  FaultyFiles(const FaultyFiles&) = delete;
  FaultyFiles& operator=(const FaultyFiles&) = delete;

  int64_t calls() const;  // for files of the folder, so far

  struct State;

 private:
  std::unique_ptr<State> state_;
};

}  // namespace zerostream
