// How fast a disk is, measured by using it.
#pragma once

#include <cstdint>
#include <string>

#include "base/buffer.h"
#include "nvme/file.h"
#include "nvme/io_engine.h"

namespace zerostream {

// A file of random bytes without a name, for measuring; its bytes are on the disk and not in the
// page cache when it is made, and it is gone when closed or when the process dies.
class ScratchFile {
 public:
  struct Options {
    int64_t bytes = int64_t{1} << 30;
    // Writing ends after this time; the file is then smaller.
    double most_seconds = 3;
  };
  // Takes at most half of what is free in `folder`, at least 16 MiB. Throws IoError: folder, errno,
  // ENOSPC where less is free.
  ScratchFile(const std::string& folder, Options options);

  // Readable and writable; buffered where direct requests are refused.
  const File& file() const { return file_; }
  // Read only, through the page cache.
  const File& buffered() const { return buffered_; }
  int64_t bytes() const { return bytes_; }
  double write_rate() const { return write_rate_; }  // bytes/s of filling it, until on the disk

 private:
  File file_, buffered_;
  int64_t bytes_ = 0;
  double write_rate_ = 0;
};

// A run of a file that is read or written once, block after block, wrapping at `file_bytes`.
struct DiskStretch {
  const File* file = nullptr;
  IoRequest::Kind kind = IoRequest::Kind::kRead;
  int64_t file_bytes = 0;  // of the file that may be used
  int64_t begin = 0;       // of the first block, rounded down to a whole block
  int64_t block_size = int64_t{4} << 20;
  double most_seconds = 0.15;  // no new block after this time
};

struct DiskTime {
  int64_t bytes = 0;
  double seconds = 0;  // writes: until the disk has them
};

// Moves the stretch with as many blocks in flight as the engine and `memory` (4 KiB aligned) hold,
// round and round through all of the memory; written are the bytes that are there. Stops after all
// of the file or after `most_seconds`, but moves one block at least. REQUIRES: memory and file hold
// a block. Throws the IoError of a failed request.
DiskTime time_stretch(const DiskStretch& stretch, IoEngine& engine, const Buffer& memory);

// Median seconds of `count` reads of 4 KiB, one after the other, at places all over the file.
double small_read_seconds(const File& file, int64_t file_bytes, int count);

}  // namespace zerostream
