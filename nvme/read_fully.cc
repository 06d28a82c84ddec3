#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/buffer.h"
#include "base/require.h"
#include "base/tensor.h"
#include "nvme/transfer.h"
#include "nvme/transfer_error.h"

namespace zerostream {
namespace {

constexpr int64_t kBounceBytes = int64_t{1} << 20;
constexpr int64_t kMostBytesOfCall = int64_t{1} << 30;

// Bytes moved, 0 at the end of the file, or -errno.
int64_t move_some(IoRequest::Kind kind, const File& file, int64_t offset, std::byte* data,
                  int64_t bytes) {
  const auto size = static_cast<size_t>(std::min(bytes, kMostBytesOfCall));
  while (true) {
    const ssize_t result = kind == IoRequest::Kind::kRead ? pread(file.fd(), data, size, offset)
                                                          : pwrite(file.fd(), data, size, offset);
    if (result >= 0) return result;
    if (errno != EINTR && errno != EAGAIN) return -errno;
  }
}

void move_all(IoRequest::Kind kind, const File& file, int64_t offset, std::byte* data,
              int64_t bytes) {
  while (bytes > 0) {
    const int64_t moved = move_some(kind, file, offset, data, bytes);
    if (moved <= 0)
      throw transfer_error(kind, file,
                           {.offset = offset, .bytes = bytes, .error = static_cast<int>(-moved)});
    offset += moved;
    data += moved;
    bytes -= moved;
  }
}

void read_through_bounce(const File& file, int64_t offset, std::byte* data, int64_t bytes) {
  const int64_t alignment = file.alignment();
  const Buffer bounce =
      allocate_host(std::min(round_up(bytes, alignment) + alignment, kBounceBytes));
  while (bytes > 0) {
    const int64_t lead = offset % alignment;
    const int64_t span = std::min(round_up(lead + bytes, alignment), bounce.size());
    const int64_t came =
        move_some(IoRequest::Kind::kRead, file, offset - lead, bounce.data(), span);
    if (came <= lead)
      throw transfer_error(IoRequest::Kind::kRead, file,
                           {.offset = offset,
                            .bytes = bytes,
                            .error = static_cast<int>(-std::min<int64_t>(came, 0))});
    const int64_t useful = std::min(came - lead, bytes);
    std::memcpy(data, bounce.data() + lead, static_cast<size_t>(useful));
    offset += useful;
    data += useful;
    bytes -= useful;
  }
}

}  // namespace

void read_fully(const File& file, int64_t offset, std::byte* data, int64_t bytes) {
  if (file.direct())
    read_through_bounce(file, offset, data, bytes);
  else
    move_all(IoRequest::Kind::kRead, file, offset, data, bytes);
}

void write_fully(const File& file, int64_t offset, const std::byte* data, int64_t bytes) {
  require((offset | bytes | reinterpret_cast<int64_t>(data)) % file.alignment() == 0,
          "a write to a direct file is aligned");
  move_all(IoRequest::Kind::kWrite, file, offset, const_cast<std::byte*>(data), bytes);
}

}  // namespace zerostream
