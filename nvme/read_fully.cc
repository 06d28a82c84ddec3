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

// One call; throws what is no reason to try again. 0 for those that are.
int64_t move_some(IoRequest::Kind kind, const File& file, int64_t offset, std::byte* data,
                  int64_t bytes) {
  const auto size = static_cast<size_t>(std::min(bytes, kMostBytesOfCall));
  const ssize_t result = kind == IoRequest::Kind::kRead ? pread(file.fd(), data, size, offset)
                                                        : pwrite(file.fd(), data, size, offset);
  if (result > 0) return result;
  if (result < 0 && (errno == EINTR || errno == EAGAIN)) return 0;
  throw transfer_error(kind, file,
                       {.offset = offset, .bytes = bytes, .error = result < 0 ? errno : 0});
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
    if (came == 0) continue;
    if (came <= lead)
      throw transfer_error(IoRequest::Kind::kRead, file, {.offset = offset, .bytes = bytes});
    const int64_t useful = std::min(came - lead, bytes);
    std::memcpy(data, bounce.data() + lead, static_cast<size_t>(useful));
    offset += useful;
    data += useful;
    bytes -= useful;
  }
}

}  // namespace

void read_fully(const File& file, int64_t offset, std::byte* data, int64_t bytes) {
  if (file.direct()) return read_through_bounce(file, offset, data, bytes);
  while (bytes > 0) {
    const int64_t moved = move_some(IoRequest::Kind::kRead, file, offset, data, bytes);
    offset += moved;
    data += moved;
    bytes -= moved;
  }
}

void write_fully(const File& file, int64_t offset, const std::byte* data, int64_t bytes) {
  const int64_t alignment = file.alignment();
  require((offset | bytes | reinterpret_cast<int64_t>(data)) % alignment == 0,
          "a write to a direct file is aligned");
  while (bytes > 0) {
    const int64_t moved =
        move_some(IoRequest::Kind::kWrite, file, offset, const_cast<std::byte*>(data), bytes);
    offset += moved;
    data += moved;
    bytes -= moved;
  }
}

}  // namespace zerostream
