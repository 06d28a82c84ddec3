#include "nvme/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/buffer.h"
#include "base/tensor.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr int64_t kPageBytes = 4096;

[[noreturn]] void fail(const std::string& what, const std::string& path, int error) {
  throw IoError("cannot " + what + " " + path + ": " + std::strerror(error), error);
}

// 0 where the file system says that the file takes no direct requests.
int64_t direct_alignment(int fd) {
  struct statx info {};
  if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &info) != 0 ||
      (info.stx_mask & STATX_DIOALIGN) == 0)
    return kPageBytes;
  return std::max<int64_t>(info.stx_dio_mem_align, info.stx_dio_offset_align);
}

// Why direct requests do not work on the descriptor, or an empty string.
std::string refusal(int fd, int64_t alignment) {
  if (alignment == 0) return "the file system takes no direct requests for this file";
  if (kPageBytes % alignment != 0)
    return "direct requests need an alignment of " + std::to_string(alignment) + " bytes";
  const Buffer probe = allocate_host(kPageBytes);
  if (pread(fd, probe.data(), kPageBytes, 0) >= 0) return {};
  return std::string("a direct read failed: ") + std::strerror(errno);
}

}  // namespace

File File::open(const std::string& path, OpenOptions options) {
  const int flags = O_CLOEXEC | (options.write ? O_RDWR | O_CREAT : O_RDONLY);
  File file;
  file.path_ = path;
  if (options.direct) {
    file.fd_ = ::open(path.c_str(), flags | O_DIRECT, 0666);
    if (file.fd_ >= 0) {
      file.alignment_ = direct_alignment(file.fd_);
      file.why_not_direct_ = refusal(file.fd_, file.alignment_);
      file.direct_ = file.why_not_direct_.empty();
    } else {
      file.why_not_direct_ = std::string("O_DIRECT was refused: ") + std::strerror(errno);
    }
  }
  if (!file.direct_) {
    file.alignment_ = 1;
    if (file.fd_ >= 0) close(std::exchange(file.fd_, -1));
    file.fd_ = ::open(path.c_str(), flags, 0666);
    if (file.fd_ < 0) fail("open", path, errno);
  }
  struct stat info {};
  if (fstat(file.fd_, &info) != 0) fail("stat", path, errno);
  if (S_ISDIR(info.st_mode)) fail("open", path, EISDIR);
  return file;
}

File::File(File&& other) noexcept { *this = std::move(other); }

File& File::operator=(File&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(path_, other.path_);
  std::swap(direct_, other.direct_);
  std::swap(alignment_, other.alignment_);
  std::swap(why_not_direct_, other.why_not_direct_);
  return *this;
}

File::~File() {
  if (fd_ >= 0) close(fd_);
}

int64_t File::size() const {
  struct stat info {};
  if (fstat(fd_, &info) != 0) fail("stat", path_, errno);
  return info.st_size;
}

void File::allocate(int64_t bytes) const {
  if (bytes == 0) return;
  int error = 0;
  do error = posix_fallocate(fd_, 0, bytes);
  while (error == EINTR);
  if (error != 0) fail("reserve " + std::to_string(bytes) + " bytes for", path_, error);
}

void File::sync() const {
  if (fsync(fd_) != 0) fail("sync", path_, errno);
}

void File::drop_cache() const { posix_fadvise(fd_, 0, 0, POSIX_FADV_DONTNEED); }

}  // namespace zerostream
