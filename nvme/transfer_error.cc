#include "nvme/transfer_error.h"

#include <cstring>
#include <string>

namespace zerostream {

IoError transfer_error(IoRequest::Kind kind, const File& file, TransferFault fault) {
  const bool read = kind == IoRequest::Kind::kRead;
  std::string text = std::string("cannot ") + (read ? "read " : "write ") +
                     std::to_string(fault.bytes) + " bytes at offset " +
                     std::to_string(fault.offset) + " of " + file.path() + ": ";
  if (fault.error != 0)
    text += std::strerror(fault.error);
  else
    text += read ? "end of file" : "nothing was written";
  return IoError(text, fault.error);
}

}  // namespace zerostream
