// The error of a read or write that did not move what it should.
#pragma once

#include <cstdint>

#include "nvme/file.h"
#include "nvme/io_engine.h"
#include "zerostream/error.h"

namespace zerostream {

struct TransferFault {
  int64_t offset = 0;  // where the missing bytes begin
  int64_t bytes = 0;   // how many are missing
  int error = 0;       // errno; 0: the file ended, or the disk took nothing
};

IoError transfer_error(IoRequest::Kind kind, const File& file, TransferFault fault);

}  // namespace zerostream
