#include "model/input_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr int64_t kMostTextBytes = int64_t{1} << 30;

[[noreturn]] void fail(const std::string& what, const std::string& path, int error_number) {
  throw IoError("cannot " + what + " " + path + ": " + std::strerror(error_number), error_number);
}

}  // namespace

InputFile::InputFile(const std::string& path)
    : fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC)), path_(path) {
  if (fd_ < 0 && (errno == ENOENT || errno == ENOTDIR))
    throw CheckpointError(path + " does not exist");
  if (fd_ < 0) fail("open", path, errno);
  struct stat status = {};
  if (fstat(fd_, &status) != 0 || !S_ISREG(status.st_mode)) {
    close(fd_);
    throw CheckpointError(path + " is not a regular file");
  }
  size_ = status.st_size;
  modified_ns_ = int64_t{status.st_mtim.tv_sec} * 1000000000 + status.st_mtim.tv_nsec;
}

InputFile InputFile::of_bytes(std::string bytes, const std::string& path) {
  InputFile file;
  file.size_ = std::ssize(bytes);
  file.bytes_ = std::move(bytes);
  file.path_ = path;
  return file;
}

InputFile::InputFile(InputFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      bytes_(std::move(other.bytes_)),
      path_(std::move(other.path_)),
      size_(other.size_),
      modified_ns_(other.modified_ns_) {}

InputFile& InputFile::operator=(InputFile&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(bytes_, other.bytes_);
  std::swap(path_, other.path_);
  std::swap(size_, other.size_);
  std::swap(modified_ns_, other.modified_ns_);
  return *this;
}

InputFile::~InputFile() {
  if (fd_ >= 0) close(fd_);
}

ssize_t InputFile::read_some(int64_t offset, char* target, int64_t bytes) const {
  if (fd_ >= 0) return pread(fd_, target, static_cast<size_t>(bytes), offset);
  const int64_t count = std::clamp<int64_t>(size_ - offset, 0, bytes);
  std::copy_n(bytes_.data() + std::min(offset, size_), count, target);
  return count;
}

void InputFile::read(int64_t offset, void* target, int64_t bytes) const {
  auto* next = static_cast<char*>(target);
  while (bytes > 0) {
    const ssize_t count = read_some(offset, next, bytes);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail("read at offset " + std::to_string(offset) + " of", path_, errno);
    if (count == 0)
      throw IoError("unexpected end of " + path_ + " at offset " + std::to_string(offset) + ", " +
                        std::to_string(bytes) + " bytes short",
                    0);
    next += count;
    offset += count;
    bytes -= count;
  }
}

std::string InputFile::read_text(int64_t offset, int64_t bytes) const {
  std::string text(static_cast<size_t>(bytes), '\0');
  read(offset, text.data(), bytes);
  return text;
}

std::string InputFile::read_all() const {
  if (size_ > kMostTextBytes)
    throw CheckpointError(path_ + " has " + std::to_string(size_) +
                          " bytes, too many for its kind");
  return read_text(0, size_);
}

void refuse_git_lfs(const InputFile& file) {
  const int64_t bytes = std::min<int64_t>(file.size(), std::ssize(kGitLfsMagic));
  if (file.read_text(0, bytes) == kGitLfsMagic)
    throw CheckpointError(file.path() +
                          " is a Git LFS pointer, not the file itself: fetch it with `git lfs "
                          "pull`");
}

bool file_exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

}  // namespace zerostream
